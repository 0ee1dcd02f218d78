import type { PodObject } from '../pod/workload.ts';
import { appmesh } from './appmesh.ts';
import { consul } from './consul.ts';
import { custom } from './custom.ts';
import { istio } from './istio.ts';
import { kuma } from './kuma.ts';
import { leftAlone } from './left_alone.ts';
import { linkerd } from './linkerd.ts';
import { osm } from './osm.ts';
import type { MeshProfile, ProfileContext, Recognition } from './profile.ts';
import { redirectWanted } from './shunt_annotation.ts';

/**
 * Every mesh we know, in the order they are asked. The first that knows the pod decides: a sidecar before the marks of a
 * mesh without one, because a pod with a sidecar is never ambient.
 */
export const MESH_PROFILES: readonly MeshProfile[] = [
  istio,
  linkerd,
  kuma,
  consul,
  osm,
  appmesh,
  custom,
  leftAlone,
];

/** Whether what is to be done with the pod may differ with the marks of its namespace. */
export function namespaceMatters(pod: PodObject): boolean {
  return MESH_PROFILES.some((profile) => profile.needsNamespace?.(pod) ?? false);
}

/** What is to be done with a pod: the policy that its mesh's own rules amount to, or why it is left alone. */
export function recognise(
  pod: PodObject,
  profiles: readonly MeshProfile[] = MESH_PROFILES,
  context: ProfileContext = {},
): Recognition {
  // Such a pod has no network namespace of its own: rules for it would be rules for the node.
  if (pod.spec.hostNetwork) return { kind: 'leave', reason: "it uses the host's network" };
  const { settings } = context;
  const { namespace } = pod.metadata;
  if (settings?.excludeNamespaces?.includes(namespace)) {
    return { kind: 'leave', reason: `the settings exclude the namespace ${namespace}` };
  }
  const redirect = redirectWanted(pod);
  if (!redirect.wanted) return { kind: 'leave', reason: 'shunt.dev/redirect is "disabled"' };
  const listed = settings?.namespaces?.[namespace];
  const known = context.namespace === undefined && listed ? { ...context, namespace: listed } : context;
  for (const profile of profiles) {
    const recognition = profile.recognise(pod, known);
    if (recognition === null) continue;
    if (recognition.kind === 'leave') return recognition;
    return { ...recognition, notes: [...redirect.notes, ...recognition.notes] };
  }
  return { kind: 'leave', reason: 'it has no sidecar of a mesh that Shunt knows' };
}
