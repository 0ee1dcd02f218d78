import type { PodObject } from '../pod/workload.ts';
import { istio } from './istio.ts';
import type { MeshProfile, ProfileContext, Recognition } from './profile.ts';
import { redirectWanted } from './shunt_annotation.ts';

/** Every mesh we know, in the order they are asked. The first that knows the pod decides. */
export const MESH_PROFILES: readonly MeshProfile[] = [istio];

/** What is to be done with a pod: the policy that its mesh's own rules amount to, or why it is left alone. */
export function recognise(
  pod: PodObject,
  profiles: readonly MeshProfile[] = MESH_PROFILES,
  context: ProfileContext = {},
): Recognition {
  // Such a pod has no network namespace of its own: rules for it would be rules for the node.
  if (pod.spec.hostNetwork) return { kind: 'leave', reason: "it uses the host's network" };
  const redirect = redirectWanted(pod);
  if (!redirect.wanted) return { kind: 'leave', reason: 'shunt.dev/redirect is "disabled"' };
  for (const profile of profiles) {
    const recognition = profile.recognise(pod, context);
    if (recognition === null) continue;
    if (recognition.kind === 'leave') return recognition;
    return { ...recognition, notes: [...redirect.notes, ...recognition.notes] };
  }
  return { kind: 'leave', reason: 'it has no sidecar of a mesh that Shunt knows' };
}
