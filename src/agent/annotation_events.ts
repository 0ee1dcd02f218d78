/**
 * Tells by Events of annotations that were not taken as they stand, so that `kubectl describe pod` shows them to whoever
 * wrote them. They are written by anybody who may make a pod: the server gets few of them, and short ones.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ShuntError } from '../errors.ts';
import type { PolicyNote } from '../mesh/profile.ts';
import type { Snapshot } from '../pod/files.ts';
import { Backoff } from '../pod/kubernetes/backoff.ts';
import type { ApiConnection } from '../pod/kubernetes/connection.ts';
import { KubeError } from '../pod/kubernetes/kube_error.ts';
import { postEvent } from '../pod/kubernetes/repair.ts';
import { podName } from '../pod/locate.ts';
import type { PodObject } from '../pod/workload.ts';
import { labelOf } from './desire.ts';

/** What a mesh's rules found in a pod's annotations. */
export interface Findings {
  notes: readonly PolicyNote[];
  /** The mesh takes none of the pod then: it is not enrolled. */
  rejected: boolean;
}

export interface EventLimits {
  /** Sent at once after a quiet time. */
  burst: number;
  /** For one more. */
  refillMs: number;
  /** That wait; of more pods than these the log alone tells. */
  waiting: number;
}

const LIMITS: EventLimits = { burst: 25, refillMs: 5_000, waiting: 500 };

export interface AnnotationEventsOptions {
  connection: ApiConnection;
  nodeName: string;
  log: Logger;
  limits?: EventLimits;
  backoff?: Backoff;
}

interface Telling {
  pod: PodObject;
  reason: string;
  message: string;
}

export class AnnotationEvents {
  readonly #options: AnnotationEventsOptions;
  readonly #limits: EventLimits;
  readonly #backoff: Backoff;
  /** By uid, what was last told of a pod or is to be. */
  readonly #told = new Map<string, string>();
  readonly #queue = new Map<string, Telling>();
  #tokens: number;
  #refilledMs = performance.now();
  #wake: (() => void) | null = null;

  constructor(options: AnnotationEventsOptions) {
    this.#options = options;
    this.#limits = options.limits ?? LIMITS;
    this.#backoff = options.backoff ?? new Backoff();
    this.#tokens = this.#limits.burst;
  }

  /** Takes up pods of which there is something new to tell. @param findingsOf by uid; null for nothing */
  look(snapshot: Snapshot, findingsOf: (uid: string) => Findings | null): void {
    const present = new Set<string>();
    for (const { pod } of snapshot.pods) {
      const { uid } = podName(pod);
      present.add(uid);
      const findings = findingsOf(uid);
      const message = findings === null ? '' : messageOf(findings);
      if (message === (this.#told.get(uid) ?? '')) continue;
      if (findings === null || message === '') {
        this.#forget(uid);
        continue;
      }
      if (this.#queue.size >= this.#limits.waiting && !this.#queue.has(uid)) continue;
      this.#told.set(uid, message);
      const reason = findings.rejected ? 'ShuntRejected' : 'ShuntAnnotation';
      this.#queue.set(uid, { pod, reason, message });
      this.#wake?.();
    }
    for (const uid of this.#told.keys()) if (!present.has(uid)) this.#forget(uid);
  }

  #forget(uid: string): void {
    this.#told.delete(uid);
    this.#queue.delete(uid);
  }

  /** Works until the signal; what the server has no time for is tried again, what it refuses is not. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake?.());
    while (!signal.aborted) {
      const [next] = this.#queue;
      if (next === undefined) {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#wake = resolve;
        await promise;
        continue;
      }
      const waitMs = this.#takeToken();
      if (waitMs > 0) {
        await delay(waitMs, undefined, { signal }).catch(() => {});
        continue;
      }
      await this.#send(...next, signal);
    }
  }

  /** 0 when one was taken, else how long until there is one. */
  #takeToken(): number {
    const { burst, refillMs } = this.#limits;
    const now = performance.now();
    this.#tokens = Math.min(burst, this.#tokens + (now - this.#refilledMs) / refillMs);
    this.#refilledMs = now;
    if (this.#tokens < 1) return Math.ceil((1 - this.#tokens) * refillMs);
    this.#tokens--;
    return 0;
  }

  async #send(uid: string, telling: Telling, signal: AbortSignal): Promise<void> {
    const { connection, nodeName, log } = this.#options;
    try {
      await postEvent(connection, { ...telling, nodeName }, signal);
      this.#backoff.reset();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ShuntError)) throw error;
      const pod = labelOf(podName(telling.pod));
      log.warn({ event: 'event-not-sent', pod, ...error.toJSON() }, 'the API server did not take an Event');
      const waitMs = this.#backoff.next(error instanceof KubeError ? error.retryAfterMs : 0);
      await delay(waitMs, undefined, { signal }).catch(() => {});
      if (!isFinal(error)) return;
    }
    // Something else may have been found meanwhile.
    if (this.#queue.get(uid) === telling) this.#queue.delete(uid);
  }
}

function messageOf({ notes, rejected }: Findings): string {
  if (notes.length === 0) return '';
  const each = notes.map(
    ({ annotation, value, message }) => `${annotation}=${JSON.stringify(value)}: ${message}`,
  );
  return `${rejected ? 'not enrolled, as the mesh rejects it: ' : ''}${each.join('; ')}`;
}

/** The pod's namespace is going, say, or the permission was taken away: the same again would not pass. */
function isFinal(error: ShuntError): boolean {
  if (!(error instanceof KubeError) || error.status === null) return false;
  return error.status >= 400 && error.status < 500 && ![401, 408, 429].includes(error.status);
}
