/**
 * Pods as the API server has them, cut down to what Shunt looks at: of 5 to 20 kB about one stays. Whoever may write a
 * pod may not say where on the node it is, so the annotations by which manifests on disk say that are taken out.
 */
import * as v from 'valibot';
import { CGROUP_ANNOTATION } from '../cgroup.ts';
import { NETNS_ANNOTATION } from '../locate.ts';
import { readPodObject } from '../manifest.ts';
import type { ContainerState, NamespaceMarks, PodObject } from '../workload.ts';

/** Written by the kubelet on the API's copy of a pod that it was given by a file. */
export const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';
/** A whole second copy of the pod. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

const ended = v.nullish(v.object({ exitCode: v.number() }));
const containerStatus = v.object({
  name: v.string(),
  containerID: v.nullish(v.string(), ''),
  state: v.nullish(v.object({ terminated: ended }), {}),
  lastState: v.nullish(v.object({ terminated: ended }), {}),
});
const statuses = v.nullish(v.array(containerStatus), []);
const live = v.object({
  metadata: v.object({
    deletionTimestamp: v.nullish(v.string()),
    ownerReferences: v.nullish(
      v.array(v.object({ kind: v.string(), controller: v.nullish(v.boolean()) })),
      [],
    ),
  }),
  status: v.nullish(
    v.object({
      phase: v.nullish(v.string()),
      containerStatuses: statuses,
      initContainerStatuses: statuses,
      ephemeralContainerStatuses: statuses,
    }),
    {},
  ),
});
const named = v.object({
  metadata: v.object({ namespace: v.optional(v.string(), ''), name: v.string() }),
});

/** @throws SHUNT_E_MANIFEST_FIELD naming pod and field */
export function readKubernetesPod(object: unknown): PodObject {
  const names = v.safeParse(named, object);
  const target = names.success
    ? `pod ${names.output.metadata.namespace}/${names.output.metadata.name}`
    : 'an object without a name';
  const pod = readPodObject(object, target);
  // Of a form that this release does not know: as if nothing were said of the containers, which are then not told apart.
  const parsed = v.safeParse(live, object);
  const { metadata, status } = parsed.success ? parsed.output : { metadata: {}, status: {} };
  const owners = ('ownerReferences' in metadata && metadata.ownerReferences) || [];
  // The kubelet that owns a mirror pod makes it anew, but not the static pod that it stands for.
  const controlled = owners.some(({ kind, controller }) => controller === true && kind !== 'Node');
  const { annotations } = pod.metadata;
  const staticUid = annotations[MIRROR_ANNOTATION];
  return {
    metadata: {
      ...pod.metadata,
      annotations: Object.fromEntries(Object.entries(annotations).filter(([name]) => isKept(name))),
      ...(staticUid === undefined ? {} : { staticUid }),
      ...('deletionTimestamp' in metadata && metadata.deletionTimestamp ? { deleting: true } : {}),
      ...(controlled ? { controlled: true } : {}),
    },
    spec: pod.spec,
    status: {
      podIPs: pod.status.podIPs,
      ...('phase' in status && status.phase ? { phase: status.phase } : {}),
      containers:
        'containerStatuses' in status
          ? [
              ...status.initContainerStatuses,
              ...status.containerStatuses,
              ...status.ephemeralContainerStatuses,
            ].map(containerState)
          : [],
    },
  };
}

function isKept(annotation: string): boolean {
  return (
    annotation !== LAST_APPLIED &&
    annotation !== NETNS_ANNOTATION &&
    annotation !== CGROUP_ANNOTATION &&
    !annotation.startsWith(`${CGROUP_ANNOTATION}.`)
  );
}

function containerState(status: v.InferOutput<typeof containerStatus>): ContainerState {
  const { name, containerID, state, lastState } = status;
  const now = state?.terminated ?? null;
  // `containerd://8f3a…`, `cri-o://…`, `docker://…`
  const id = containerID?.replace(/^[a-z0-9.-]+:\/\//, '') || null;
  return {
    name,
    id,
    exitCode: (now ?? lastState?.terminated)?.exitCode ?? null,
    completed: now?.exitCode === 0,
  };
}

const namespaceObject = v.object({
  metadata: v.object({
    name: v.string(),
    labels: v.nullish(v.record(v.string(), v.string()), {}),
    annotations: v.nullish(v.record(v.string(), v.string()), {}),
  }),
});

/** A Namespace as far as meshes look at it. */
export interface KubernetesNamespace extends NamespaceMarks {
  name: string;
}

/** Marks that no mesh reads are left out: most namespaces have none other. */
const MESH_MARK = /(?:^|[./])(?:istio|linkerd|kmesh|kuma|consul|shunt)\b/;

/** A malformed namespace has no marks. */
export function readKubernetesNamespace(object: unknown): KubernetesNamespace {
  const parsed = v.safeParse(namespaceObject, object);
  if (!parsed.success) return { name: '', labels: {}, annotations: {} };
  const { name, labels, annotations } = parsed.output.metadata;
  const marks = (all: Record<string, string>) =>
    Object.fromEntries(Object.entries(all).filter(([key]) => MESH_MARK.test(key)));
  return { name, labels: marks(labels ?? {}), annotations: marks(annotations ?? {}) };
}
