/** What an operator says of the meshes on this node: their own configuration, which no Pod carries. */
import * as v from 'valibot';
import { canonicalAddress } from '../policy/address.ts';
import { isLoopbackCidr, parseCidr } from '../policy/cidr.ts';
import { isInterfaceName } from '../policy/validate.ts';
import { type Parsed, parseCidrOrAddress, parseIdRange, parsePortRange } from './annotation_list.ts';

const port = v.pipe(
  v.number('expected a port'),
  v.check((value) => Number.isInteger(value) && value >= 1 && value <= 65_535, 'expected a port, 1 to 65535'),
);
const id = v.pipe(
  v.number('expected a numeric id'),
  v.check((value) => Number.isInteger(value) && value >= 0 && value <= 0xffff_fffe, 'expected a numeric id'),
);
const ids = v.pipe(v.array(id), v.maxLength(4, 'expected at most 4 ids'));

/** A list of texts, each as an annotation spells it; one that cannot be read is found when the file is. */
const listOf = (wanted: string, parse: (text: string) => Parsed<unknown>) =>
  v.array(
    v.pipe(
      v.string(`expected ${wanted} as text`),
      v.check((text) => parse(text).ok, `expected ${wanted}`),
    ),
  );
const portRanges = listOf('a port or a range such as 80-90', (text) => parsePortRange(text, '-'));
const cidrs = listOf('an address or a CIDR', parseCidrOrAddress);
const addresses = v.array(
  v.pipe(
    v.string('expected an IP address'),
    v.check((text) => canonicalAddress(text) !== null, 'expected an IP address'),
    v.transform((text) => canonicalAddress(text) ?? text),
  ),
);
const interfaces = v.array(
  v.pipe(v.string(), v.check(isInterfaceName, 'expected the name of a network interface')),
);
const namespaces = v.array(
  v.pipe(v.string(), v.regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'expected the name of a namespace')),
);
/** Text, as in YAML `"true"` too: the API server keeps nothing else. */
const stringMap = v.record(v.string(), v.string('expected text; put it in quotes'));

/** Names that mean a mesh which Shunt knows, and with it the order of its rules. */
const TAKEN = ['istio', 'linkerd', 'kuma', 'consul', 'osm', 'osm-edge', 'appmesh', 'left-alone'];

/** Any sidecar that Shunt has no profile for: told by the name of its container. */
const customMesh = v.strictObject({
  name: v.pipe(
    v.string(),
    v.regex(/^[a-z0-9][-a-z0-9]{0,62}$/, 'expected lower-case letters, digits and "-"'),
    v.check((name) => !TAKEN.includes(name), 'expected a name that is not that of a mesh Shunt knows'),
  ),
  container: v.pipe(v.string(), v.nonEmpty('expected the name of a container')),
  outboundPort: port,
  inboundPort: port,
  tunnelPort: v.optional(port),
  /** Without uids and gids, the container's own securityContext says them. */
  proxyUids: v.optional(ids),
  proxyGids: v.optional(ids),
  /** Lists as annotations spell them: `80`, `8000-8010`; `10.0.0.0/8`. */
  excludeInboundPorts: v.optional(portRanges),
  excludeOutboundPorts: v.optional(portRanges),
  excludeOutboundCidrs: v.optional(cidrs),
  /** The sidecar's connections to the pod's own address are inbound traffic, as in Istio. */
  selfCallsInbound: v.optional(v.boolean()),
  /** 127.0.0.6 and ::6 are the sidecar's own way to the application. */
  passthroughSource: v.optional(v.boolean()),
  ip6: v.optional(v.boolean()),
});

/** istio-cni's own environment and chart: what it reads there, no pod says in CNI mode. */
const istio = v.strictObject({
  /** Of the CNI plugin, `kube-system` where nothing is said. */
  excludeNamespaces: v.optional(namespaces),
  outboundOwnerGroups: v.optional(ids64()),
  outboundOwnerGroupsExclude: v.optional(ids64()),
  outboundIpv4LoopbackCidr: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => {
        const cidr = parseCidr(text);
        return cidr !== null && cidr.family === 4 && isLoopbackCidr(cidr);
      }, 'expected a CIDR inside 127.0.0.0/8'),
    ),
  ),
});

/** Gids, at most as many as istio-iptables takes. */
function ids64() {
  return v.pipe(v.array(id), v.maxLength(64, 'expected at most 64 groups'));
}

/** The part of linkerd-cni's conflist that is not on pods. */
const linkerd = v.strictObject({
  outboundPort: v.optional(port),
  inboundPort: v.optional(port),
  proxyUid: v.optional(id),
  proxyGid: v.optional(id),
  portsToRedirect: v.optional(portRanges),
  inboundPortsToIgnore: v.optional(portRanges),
  outboundPortsToIgnore: v.optional(portRanges),
  subnetsToIgnore: v.optional(cidrs),
  ipv6: v.optional(v.boolean()),
  /** Of the default/kubernetes Service: control-plane pods reach it past the proxy. */
  apiServerPorts: v.optional(v.array(port)),
});

/** The control plane's runtime settings: they stand where neither the pod nor its ConfigMap says anything. */
const kuma = v.strictObject({
  /** Of the CNI plugin, `kube-system` where nothing is said. */
  excludeNamespaces: v.optional(namespaces),
  uid: v.optional(id),
  outboundPort: v.optional(port),
  inboundPort: v.optional(port),
  ipFamilyMode: v.optional(v.picklist(['dualstack', 'ipv4'])),
  dns: v.optional(
    v.strictObject({
      enabled: v.optional(v.boolean()),
      port: v.optional(port),
      captureAll: v.optional(v.boolean()),
      skipConntrackZoneSplit: v.optional(v.boolean()),
    }),
  ),
  excludeInboundPorts: v.optional(v.array(port)),
  excludeOutboundPorts: v.optional(v.array(port)),
  excludeInboundIPs: v.optional(cidrs),
  excludeOutboundIPs: v.optional(cidrs),
  /** `[protocol:][ports:]uids`, as the annotation spells it. */
  excludeOutboundPortsForUIDs: v.optional(
    v.array(
      v.pipe(
        v.string(),
        v.check((text) => parseIdRange(text.split(':').at(-1) ?? '').ok, 'expected [protocol:][ports:]uids'),
      ),
    ),
  ),
  dropInvalidPackets: v.optional(v.boolean()),
});

/** MeshConfig: for pods without the script of `osm-init`, which holds it. */
const osm = v.strictObject({
  localProxyMode: v.optional(v.picklist(['Localhost', 'PodIP'])),
  inboundPortExclusionList: v.optional(v.array(port)),
  outboundPortExclusionList: v.optional(v.array(port)),
  outboundIPRangeExclusionList: v.optional(cidrs),
  outboundIPRangeInclusionList: v.optional(cidrs),
  networkInterfaceExclusionList: v.optional(interfaces),
});

const namespaceObject = v.strictObject({
  labels: v.optional(stringMap, {}),
  annotations: v.optional(stringMap, {}),
});

export const MeshSettingsSchema = v.strictObject({
  /** Addresses in the resolv.conf of this node's pods, in place of what the node says. */
  nameservers: v.optional(addresses),
  /** Left alone, whatever their pods say. */
  excludeNamespaces: v.optional(namespaces),
  /** Namespaces by name, for sources that do not know them. */
  namespaces: v.optional(v.record(v.string(), namespaceObject)),
  istio: v.optional(istio),
  linkerd: v.optional(linkerd),
  kuma: v.optional(kuma),
  osm: v.optional(osm),
  custom: v.optional(
    v.pipe(
      v.array(customMesh),
      v.check((list) => distinct(list.map(({ name }) => name)), 'expected each name once'),
      v.check((list) => distinct(list.map(({ container }) => container)), 'expected each container once'),
    ),
  ),
});

export type MeshSettings = v.InferOutput<typeof MeshSettingsSchema>;
export type CustomMesh = v.InferOutput<typeof customMesh>;

function distinct(list: readonly string[]): boolean {
  return new Set(list).size === list.length;
}
