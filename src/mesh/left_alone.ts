/** Meshes that have no sidecar to send anything to, and gateways: known, so that the reason can be told. */
import type { PodObject } from '../pod/workload.ts';
import { parseGoBool } from './annotation_list.ts';
import type { MeshProfile, ProfileContext } from './profile.ts';
import { containerOf, leave } from './reading.ts';

interface LeftAlone {
  is(pod: PodObject, context: ProfileContext): boolean;
  reason: string;
}

const DATAPLANE_MODE = 'istio.io/dataplane-mode';

const LEFT_ALONE: readonly LeftAlone[] = [
  {
    is: ({ metadata }, { namespace }) => {
      const own = metadata.labels[DATAPLANE_MODE];
      const redirection = metadata.annotations['ambient.istio.io/redirection'];
      if (redirection === 'enabled' || redirection === 'pending' || own === 'ambient') return true;
      return own === undefined && namespace?.labels[DATAPLANE_MODE] === 'ambient';
    },
    reason:
      "it is in Istio's ambient mode: ztunnel captures it by socket marks, which redirection here would escape",
  },
  {
    is: ({ metadata }, { namespace }) =>
      metadata.annotations['kmesh.net/redirection'] === 'enabled' ||
      (metadata.labels[DATAPLANE_MODE] ?? namespace?.labels[DATAPLANE_MODE])?.toLowerCase() === 'kmesh',
    reason: 'Kmesh redirects it with its own eBPF programs, without a sidecar',
  },
  {
    is: (pod) =>
      pod.metadata.annotations['dapr.io/enabled'] !== undefined
        ? parseGoBool(pod.metadata.annotations['dapr.io/enabled']) === true
        : containerOf(pod, 'daprd') !== null,
    reason: 'Dapr is called by the application itself and captures nothing',
  },
  {
    is: ({ metadata }) =>
      Object.keys(metadata.annotations).some((name) =>
        /^(?:policy|io)\.cilium\.(?:io\/)?proxy-visibility$/.test(name),
      ),
    reason: "Cilium's mesh has an Envoy for each node and redirects in its own data path, without a sidecar",
  },
  {
    is: ({ metadata }) =>
      /^(?:traefik-mesh|maesh)(?:-|$)/.test(
        metadata.labels.component ?? metadata.labels['app.kubernetes.io/name'] ?? '',
      ),
    reason: 'Traefik Mesh is reached by names of its own and captures nothing',
  },
  {
    is: ({ metadata, spec }) =>
      /(?:^|,)grpc-(?:agent|simple)(?:,|$)/.test(metadata.annotations['inject.istio.io/templates'] ?? '') ||
      spec.containers.some(
        ({ env }) => env.GRPC_XDS_BOOTSTRAP !== undefined || env.GRPC_XDS_BOOTSTRAP_CONFIG !== undefined,
      ),
    reason: 'it is a proxyless gRPC application, which is its own proxy',
  },
  {
    is: ({ metadata }) =>
      metadata.labels['gateway.networking.k8s.io/gateway-name'] !== undefined ||
      metadata.labels['gateway.istio.io/managed'] !== undefined,
    reason: 'it is a gateway, whose own connections are what it is for',
  },
];

export const leftAlone: MeshProfile = {
  name: 'left-alone',
  recognise: (pod, context = {}) => {
    const known = LEFT_ALONE.find(({ is }) => is(pod, context));
    return known === undefined ? null : leave(known.reason);
  },
};
