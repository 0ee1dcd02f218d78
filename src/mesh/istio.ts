/**
 * Istio sidecars. The pod is judged as Istio's CNI plugin judges it, and captured as its own rules would capture it: in
 * init mode (a container `istio-init`) by that container's arguments, else by the annotations as the CNI plugin
 * reads them. Ambient pods have no sidecar and are not of this profile.
 *
 * Sources: istio/istio cni/pkg/plugin/plugin.go and sidecar_redirect.go, pkg/kube/inject/validate.go,
 * tools/istio-iptables; in words in reference/meshes.md 1.1 and 2.1.
 */
import type { ContainerSpec, PodObject } from '../pod/workload.ts';
import { clip, parseGoBool } from './annotation_list.ts';
import { parseIptablesArgs } from './istio_iptables_args.ts';
import { istioPolicy } from './istio_policy.ts';
import type { MeshProfile, PolicyNote, ProfileContext, Recognition } from './profile.ts';
import { accelerationWanted } from './shunt_annotation.ts';

const PROXY = 'istio-proxy';
const INIT = 'istio-init';
const STATUS = 'sidecar.istio.io/status';
const INJECT = 'sidecar.istio.io/inject';
const INTERCEPTION_MODE = 'sidecar.istio.io/interceptionMode';

/** Namespaces that the CNI plugin never looks at, as its chart has it. */
const EXCLUDED_NAMESPACES = ['kube-system'];

export const istio: MeshProfile = { name: 'istio', recognise: recogniseIstio };

function recogniseIstio(pod: PodObject, context: ProfileContext = {}): Recognition | null {
  const containers = [...pod.spec.initContainers, ...pod.spec.containers];
  const proxy = containers.find(({ name }) => name === PROXY);
  const init = containers.find(({ name }) => name === INIT) ?? null;
  const injected = pod.metadata.annotations[STATUS] !== undefined;
  if (proxy === undefined) {
    return injected ? leave(`it has the annotation ${STATUS}, but no container ${PROXY}`) : null;
  }
  const reason = reasonToLeave(pod, proxy, init, context.settings?.istio?.excludeNamespaces);
  if (reason !== null) return leave(reason);

  const mode = interceptionMode(pod, init);
  if (mode.note !== null) return { kind: 'reject', notes: [mode.note] };
  if (mode.reason !== null) return leave(mode.reason);

  const outcome = istioPolicy(pod, proxy, init, context);
  if (outcome.policy === null) return { kind: 'reject', notes: outcome.notes };
  const { acceleration, notes } = accelerationWanted(pod);
  return {
    kind: 'redirect',
    policy: outcome.policy,
    sidecarContainer: PROXY,
    acceleration,
    notes: [...outcome.notes, ...notes],
  };
}

function leave(reason: string): Recognition {
  return { kind: 'leave', reason };
}

/** The CNI plugin's tests in its order. In init mode the pod has its rules in any case, so the last ones do not count. */
function reasonToLeave(
  pod: PodObject,
  proxy: ContainerSpec,
  init: ContainerSpec | null,
  excluded: readonly string[] = EXCLUDED_NAMESPACES,
): string | null {
  const { namespace, labels, annotations } = pod.metadata;
  if (init === null && excluded.includes(namespace)) {
    return `Istio's CNI plugin leaves the namespace ${namespace} alone`;
  }
  if (parseGoBool(proxy.env.DISABLE_ENVOY ?? '') === true) {
    return `${PROXY} runs without Envoy (DISABLE_ENVOY): a proxyless gRPC application`;
  }
  const [command, proxyType] = proxy.args;
  if (command === 'proxy' && proxyType !== undefined && proxyType !== 'sidecar') {
    return `it is a gateway (${PROXY} runs as ${clip(proxyType)})`;
  }
  const inject = labels[INJECT] ?? annotations[INJECT] ?? '';
  if (parseGoBool(inject) === false) return `${INJECT} is ${clip(inject)}`;
  if (init === null && annotations[STATUS] === undefined) {
    return `it was not injected: it has no annotation ${STATUS}`;
  }
  return null;
}

interface Interception {
  /** Why a pod in this mode is left alone; null to go on. */
  reason: string | null;
  note: PolicyNote | null;
}

function interceptionMode(pod: PodObject, init: ContainerSpec | null): Interception {
  const annotated = pod.metadata.annotations[INTERCEPTION_MODE];
  const given = init === null ? undefined : parseIptablesArgs(init.args).get('interceptionMode')?.value;
  const mode = given ?? annotated ?? 'REDIRECT';
  const valid = ['REDIRECT', 'TPROXY', 'NONE'];
  if (annotated !== undefined && !valid.includes(annotated)) {
    const message = 'is none of REDIRECT, TPROXY and NONE, so Istio refuses the pod';
    return { reason: null, note: { annotation: INTERCEPTION_MODE, value: clip(annotated), message } };
  }
  if (mode === 'NONE') return { reason: 'its interception mode is NONE', note: null };
  if (mode === 'TPROXY') {
    return {
      reason: "its interception mode is TPROXY, which neither backend does: its rules are to be Istio's own",
      note: null,
    };
  }
  return { reason: null, note: null };
}
