/** What an operator says of the meshes on this node: their own configuration, which no Pod carries. */
import * as v from 'valibot';

const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const id = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_fffe));
const ids = v.pipe(v.array(id), v.maxLength(4));
const texts = v.array(v.string());

/** Any sidecar that Shunt has no profile for: told by the name of its container. */
const customMesh = v.strictObject({
  name: v.pipe(v.string(), v.regex(/^[a-z0-9][-a-z0-9]{0,62}$/)),
  container: v.pipe(v.string(), v.nonEmpty()),
  outboundPort: port,
  inboundPort: port,
  tunnelPort: v.optional(port),
  /** Without uids and gids, the container's own securityContext says them. */
  proxyUids: v.optional(ids),
  proxyGids: v.optional(ids),
  /** Lists as annotations spell them: `80`, `8000-8010`; `10.0.0.0/8`. */
  excludeInboundPorts: v.optional(texts),
  excludeOutboundPorts: v.optional(texts),
  excludeOutboundCidrs: v.optional(texts),
  /** The sidecar's connections to the pod's own address are inbound traffic, as in Istio. */
  selfCallsInbound: v.optional(v.boolean()),
  /** 127.0.0.6 and ::6 are the sidecar's own way to the application. */
  passthroughSource: v.optional(v.boolean()),
  ip6: v.optional(v.boolean()),
});

/** The part of linkerd-cni's conflist that is not on pods. */
const linkerd = v.strictObject({
  outboundPort: v.optional(port),
  inboundPort: v.optional(port),
  proxyUid: v.optional(id),
  proxyGid: v.optional(id),
  portsToRedirect: v.optional(texts),
  inboundPortsToIgnore: v.optional(texts),
  outboundPortsToIgnore: v.optional(texts),
  subnetsToIgnore: v.optional(texts),
  ipv6: v.optional(v.boolean()),
  /** Of the default/kubernetes Service: control-plane pods reach it past the proxy. */
  apiServerPorts: v.optional(v.array(port)),
});

export const MeshSettingsSchema = v.strictObject({
  /** Addresses in the resolv.conf of this node's pods: the cluster's DNS service. */
  nameservers: v.optional(texts),
  linkerd: v.optional(linkerd),
  custom: v.optional(v.array(customMesh)),
});

export type MeshSettings = v.InferOutput<typeof MeshSettingsSchema>;
export type CustomMesh = v.InferOutput<typeof customMesh>;
