/**
 * In which order a mesh asks its questions of an outbound packet; the first that answers decides. The differences show
 * only where two answers meet, such as a sidecar that calls its own pod on an excluded port. Source: the meshes' own
 * rules (docs/meshes.md), of Istio `istio-iptables`, of the others their init containers.
 */
export type Step =
  | 'interfaces'
  | 'users'
  | 'user-ports'
  | 'ports'
  | 'passthrough'
  | 'pod-ip'
  | 'identity'
  | 'groups'
  | 'sidecar-dns'
  | 'dns'
  | 'localhost'
  | 'blocks'
  | 'included-ports'
  | 'included';

type Order = readonly Step[];

const ISTIO: Order = [
  'interfaces',
  'users',
  'user-ports',
  'ports',
  'passthrough',
  'pod-ip',
  'identity',
  'groups',
  'dns',
  'localhost',
  'blocks',
  'included-ports',
  'included',
];

const LINKERD: Order = [
  'interfaces',
  'users',
  'user-ports',
  'passthrough',
  'pod-ip',
  'identity',
  'groups',
  'dns',
  'localhost',
  'ports',
  'blocks',
  'included-ports',
  'included',
];

const KUMA: Order = [
  'interfaces',
  'users',
  'user-ports',
  'blocks',
  'sidecar-dns',
  'dns',
  'ports',
  'passthrough',
  'pod-ip',
  'identity',
  'groups',
  'localhost',
  'included-ports',
  'included',
];

const CONSUL: Order = [
  'dns',
  'interfaces',
  'users',
  'user-ports',
  'blocks',
  'ports',
  'passthrough',
  'pod-ip',
  'identity',
  'groups',
  'localhost',
  'included-ports',
  'included',
];

const OSM: Order = [
  'pod-ip',
  'dns',
  'users',
  'user-ports',
  'passthrough',
  'identity',
  'groups',
  'localhost',
  'interfaces',
  'blocks',
  'ports',
  'included-ports',
  'included',
];

/** By RedirectPolicy.mesh. App Mesh asks for local, then uid, gid, ports, blocks: all of them answers to pass. */
const ORDERS = new Map<string, Order>([
  ['linkerd', LINKERD],
  ['kuma', KUMA],
  ['consul', CONSUL],
  ['osm', OSM],
  ['osm-edge', OSM],
  ['appmesh', LINKERD],
]);

/** A mesh that has no order of its own is asked in Istio's. */
export function orderOf(mesh: string): Order {
  return ORDERS.get(mesh) ?? ISTIO;
}
