/** Shunt's own annotations, which mean the same in every mesh. */
import type { PodObject } from '../pod/workload.ts';
import { ACCELERATIONS, type Acceleration } from '../policy/policy.ts';
import { clip } from './annotation_list.ts';
import type { PolicyNote } from './profile.ts';

const REDIRECT = 'shunt.dev/redirect';
const BACKEND = 'shunt.dev/backend';
const ACCELERATION = 'shunt.dev/acceleration';

/** Whether the pod may be redirected. Only the word `disabled` opts out: a slip must not bypass the sidecar. */
export function redirectWanted(pod: PodObject): { wanted: boolean; notes: PolicyNote[] } {
  const value = pod.metadata.annotations[REDIRECT];
  if (value === 'disabled') return { wanted: false, notes: [] };
  if (value === undefined || value === 'enabled') return { wanted: true, notes: [] };
  const message = 'is neither "enabled" nor "disabled"; the pod is redirected';
  return { wanted: true, notes: [{ annotation: REDIRECT, value: clip(value), message }] };
}

/** Which backend is to enforce the pod. */
export type BackendWish = 'auto' | 'ebpf' | 'iptables';

/** The pod's own wish; null where it has none, or none that is understood: the agent's then counts. */
export function backendWanted(pod: PodObject): { backend: BackendWish | null; notes: PolicyNote[] } {
  const value = pod.metadata.annotations[BACKEND];
  if (value === undefined) return { backend: null, notes: [] };
  if (value === 'auto' || value === 'ebpf' || value === 'iptables') return { backend: value, notes: [] };
  const message = 'is none of "auto", "ebpf" and "iptables"; the backend is chosen as without it';
  return { backend: null, notes: [{ annotation: BACKEND, value: clip(value), message }] };
}

/**
 * How far acceleration may go. What is not understood turns it off, which is always safe.
 *
 * @param byDefault of the mesh: its sidecar has to read until there is nothing (docs/acceleration.md, Limits)
 */
export function accelerationWanted(
  pod: PodObject,
  byDefault: Acceleration = 'auto',
): { acceleration: Acceleration; notes: PolicyNote[] } {
  const value = pod.metadata.annotations[ACCELERATION];
  if (value === undefined) return { acceleration: byDefault, notes: [] };
  const known = ACCELERATIONS.find((acceleration) => acceleration === value);
  if (known !== undefined) return { acceleration: known, notes: [] };
  const message = 'is none of "off", "auto", "outbound" and "full"; acceleration is off';
  return { acceleration: 'off', notes: [{ annotation: ACCELERATION, value: clip(value), message }] };
}
