/** What the agent knows of one pod: what it is to be, what is in force, and what stands in the way. */
import type { PodRef } from '../cni/call.ts';
import type { Datapath, HeldPod } from '../datapath/interface.ts';
import { errorReport, type ShuntError } from '../errors.ts';
import type { PodName, Workload } from '../pod/workload.ts';
import type { PodReport } from './api.ts';
import type { Desire } from './desire.ts';
import type { PodBackendCause } from './pod_backend.ts';

export interface PodEntry {
  desire: Desire;
  /** What is in force, which for a failed pod is what was before; null when it is not enrolled. */
  held: Workload | null;
  /** What enforces it; null when it is not enrolled. */
  by: Datapath['backend'] | null;
  /** Why the pod has the backend it has, or was to have; null before it was chosen. */
  backendReason: string | null;
  causes: readonly PodBackendCause[];
  others: readonly string[];
  error: ShuntError | null;
  /** Of a pod that has not started: when it is looked for again, on the monotonic clock. */
  retry: { atMs: number; waitMs: number } | null;
}

/** A pod in the fewest words. */
export interface PodState {
  state: PodReport['state'];
  backend: PodReport['backend'];
  causes: readonly PodBackendCause[];
}

/** What the kernel holds of a pod, and by which backend. */
export interface HeldBy {
  backend: Datapath['backend'];
  pod: HeldPod;
}

/** Of a pod without a UID in its manifest the name is all there is. */
export function isPod(known: PodName, { namespace, name, uid }: PodRef): boolean {
  if (known.namespace !== namespace || known.name !== name) return false;
  return uid === null || known.uid === uid || known.uid === `${namespace}/${name}`;
}

export function stateOf({ held, error }: PodEntry): PodReport['state'] {
  return error !== null ? 'failed' : held !== null ? 'enrolled' : 'left';
}

export function reportOf(entry: PodEntry, kernel: ReadonlyMap<bigint, HeldBy>): PodReport {
  const { desire, held, error } = entry;
  const inKernel = held === null ? undefined : kernel.get(held.netns.cookie);
  return {
    ...desire.name,
    state: stateOf(entry),
    reason: desire.kind === 'leave' ? desire.reason : null,
    error: error === null ? null : errorReport(error),
    mesh: held?.policy.mesh ?? null,
    backend: inKernel?.backend ?? null,
    backendReason: entry.backendReason,
    others: [...entry.others],
    ip4: held?.ip4 ?? null,
    ip6: held?.ip6 ?? null,
    netns: held === null ? null : { path: held.netns.path, cookie: String(held.netns.cookie) },
    identity: held === null ? null : held.sidecarCgroup === null ? 'uid' : 'cgroup',
    policy: held?.policy ?? null,
    held: inKernel?.pod ?? null,
  };
}
