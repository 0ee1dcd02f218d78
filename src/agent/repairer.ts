/** Tells of pods that came up before they were enrolled and gave up, and makes room for others when it may. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ShuntError } from '../errors.ts';
import type { Snapshot } from '../pod/files.ts';
import { Backoff } from '../pod/kubernetes/backoff.ts';
import type { ApiConnection } from '../pod/kubernetes/connection.ts';
import { KubeError } from '../pod/kubernetes/kube_error.ts';
import { deletePod, postEvent, type ValidatorFailure, validatorFailure } from '../pod/kubernetes/repair.ts';
import { podName } from '../pod/locate.ts';
import type { PodObject } from '../pod/workload.ts';
import { labelOf } from './desire.ts';

/** `event` tells of them, `delete` deletes those that a controller makes anew. */
export type RepairMode = 'off' | 'event' | 'delete';

export interface RepairerOptions {
  connection: ApiConnection;
  nodeName: string;
  mode: RepairMode;
  log: Logger;
  backoff?: Backoff;
}

interface Case {
  pod: PodObject;
  failure: ValidatorFailure;
  told: boolean;
}

export class Repairer {
  readonly #options: RepairerOptions;
  readonly #backoff: Backoff;
  /** Of this agent's life: each pod once. */
  readonly #seen = new Set<string>();
  readonly #queue: Case[] = [];
  #wake: (() => void) | null = null;

  constructor(options: RepairerOptions) {
    this.#options = options;
    this.#backoff = options.backoff ?? new Backoff();
  }

  /**
   * Takes up the pods whose validator failed and that are enrolled now, so that their next try would pass.
   *
   * @param isEnrolled by uid
   */
  look(snapshot: Snapshot, isEnrolled: (uid: string) => boolean): void {
    if (this.#options.mode === 'off') return;
    const present = new Set<string>();
    for (const { pod } of snapshot.pods) {
      const { uid } = podName(pod);
      present.add(uid);
      if (this.#seen.has(uid) || !isEnrolled(uid)) continue;
      const failure = validatorFailure(pod);
      if (failure === null) continue;
      this.#seen.add(uid);
      this.#queue.push({ pod, failure, told: false });
      this.#wake?.();
    }
    for (const uid of this.#seen) if (!present.has(uid)) this.#seen.delete(uid);
  }

  /** Works until the signal; what the server refuses is tried again, except what it forbids. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake?.());
    while (!signal.aborted) {
      const next = this.#queue[0];
      if (next === undefined) {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#wake = resolve;
        await promise;
        continue;
      }
      try {
        await this.#repair(next, signal);
        this.#queue.shift();
        this.#backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ShuntError)) throw error;
        if (error.code === 'SHUNT_E_KUBE_FORBIDDEN') this.#queue.shift();
        this.#options.log.error(
          { event: 'repair-failed', pod: labelOf(podName(next.pod)), ...error.toJSON() },
          'pod cannot be repaired',
        );
        const waitMs = this.#backoff.next(error instanceof KubeError ? error.retryAfterMs : 0);
        await delay(waitMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #repair(found: Case, signal: AbortSignal): Promise<void> {
    const { pod, failure } = found;
    const { connection, nodeName, mode, log } = this.#options;
    const { container, exitCode, mesh } = failure;
    const what = `${mesh}'s ${container} ended with ${exitCode} before the pod was enrolled`;
    const deletes = mode === 'delete' && pod.metadata.controlled === true;
    const next = deletes
      ? 'the pod is deleted, for its controller to make another'
      : 'it is enrolled now: its next start will pass, or delete the pod to have that at once';
    const fields = { pod: labelOf(podName(pod)), container, exitCode };
    const message = `${what}; ${next}`;
    if (!found.told) {
      await postEvent(connection, { pod, nodeName, reason: 'ShuntEnrolledLate', message }, signal);
      log.warn({ event: 'pod-enrolled-late', ...fields, deletes }, message);
      found.told = true;
    }
    if (deletes && (await deletePod(connection, pod, signal))) {
      log.warn({ event: 'pod-deleted', ...fields }, 'pod deleted for repair');
    }
  }
}
