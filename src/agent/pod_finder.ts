/** Answers who a pod is when the runtime starts its sandbox, which may be before its source has told of it. */
import type { PodRef } from '../cni/call.ts';
import type { PodObject } from '../pod/workload.ts';

/** Where the CNI server asks for a pod: a watch of the API server, or the files of --pods. */
export interface PodFinder {
  /** The pod, or null when the source did not tell of it before the signal. */
  find(pod: PodRef, signal: AbortSignal): Promise<PodObject | null>;
}

/** Finds pods among those that a source told of last, and waits for it to tell of more. */
export class LatestPods implements PodFinder {
  #pods: readonly PodObject[] = [];
  readonly #waiting = new Set<() => void>();

  /** What the source says now. To be called when it is handed to the reconciler, so that no later pass knows less. */
  update(pods: readonly PodObject[]): void {
    this.#pods = pods;
    for (const wake of [...this.#waiting]) wake();
  }

  async find(ref: PodRef, signal: AbortSignal): Promise<PodObject | null> {
    for (;;) {
      const found = this.#pods.find((pod) => isPod(pod, ref));
      if (found !== undefined) return found;
      if (signal.aborted) return null;
      await this.#change(signal);
    }
  }

  async #change(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    this.#waiting.delete(resolve);
  }
}

/** A pod that was made anew under its old name has another UID. */
function isPod({ metadata }: PodObject, { namespace, name, uid }: PodRef): boolean {
  if (metadata.namespace !== namespace || metadata.name !== name) return false;
  // The runtime knows a static pod by the uid of its manifest, the API server by that of its mirror.
  const known = metadata.staticUid ?? metadata.uid;
  return uid === null || known === undefined || known === uid;
}
