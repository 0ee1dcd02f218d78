/**
 * Open Service Mesh and osm-edge. The init container's script holds the iptables rules themselves, with the lists of
 * MeshConfig in them, so it is what the policy is read from; the annotations are read where there is no script.
 *
 * Sources: openservicemesh/osm pkg/injector/{iptables,init_container,exclusions}.go, flomesh-io/osm-edge; in words in
 * reference/meshes.md 1.5 and 2.3.
 */
import type { PodObject } from '../pod/workload.ts';
import { basePolicy, type RedirectPolicy } from '../policy/policy.ts';
import {
  type Parsed,
  parseCidrList,
  parseCidrOrAddress,
  parseList,
  parsePort,
  refuse,
} from './annotation_list.ts';
import { type OsmScript, readOsmScript } from './osm_script.ts';
import type { MeshProfile, ProfileContext, Recognition } from './profile.ts';
import { containerOf, leave, Reading } from './reading.ts';
import type { MeshSettings } from './settings.ts';

const INIT = 'osm-init';
const LABEL = 'osm-proxy-uuid';
const UID = 1500;
const DOMAIN = 'openservicemesh.io';
/** Prometheus, the three probes and the health check. */
const OWN_INBOUND = [15_010, 15_901, 15_902, 15_903, 15_904];
/** osm-edge's resolver, which listens beside localhost so that others' DNS is not in its way. */
const EDGE_DNS = { address: '127.0.0.153', port: 5300 };

export const osm: MeshProfile = { name: 'osm', recognise: recogniseOsm };

function recogniseOsm(pod: PodObject, context: ProfileContext = {}): Recognition | null {
  if (pod.metadata.labels[LABEL] === undefined) return null;
  const proxy = containerOf(pod, 'envoy', 'sidecar');
  if (proxy === null)
    return leave(`it has the label ${LABEL}, but neither a container envoy nor one named sidecar`);
  const reading = new Reading('Open Service Mesh');
  const init = containerOf(pod, INIT);
  const script = init === null ? null : readOsmScript(init.args.join('\n'));
  const settings = script ?? annotated(reading, pod, context.settings?.osm);
  if (script !== null) annotated(reading, pod);
  for (const line of script?.unknown ?? []) {
    reading.reject(`rules of ${INIT}`, line, 'it is a rule that is not known here');
  }
  const edge = proxy.name === 'sidecar';
  const base = basePolicy(
    'osm',
    { proxyUids: [UID], proxyGids: [] },
    { outbound: 15_001, inbound: 15_003, tunnel: null },
  );
  const own = OWN_INBOUND.map((port) => ({ first: port, last: port }));
  const dns: RedirectPolicy['dns'] = {
    mode: 'servers',
    servers: [EDGE_DNS.address],
    target: EDGE_DNS,
    tcp: 'as-other-tcp',
    splitZones: false,
  };
  return reading.finish(pod, proxy.name, {
    ...base,
    families: { ip4: true, ip6: false },
    loopback: {
      ...base.loopback,
      application: settings.applicationLocal ? 'bypass-local' : 'bypass-localhost',
      sidecar: settings.selfCallsInbound ? 'inbound' : 'bypass',
      passthroughSource: false,
      sidecarLocalhostToPodIp: settings.localhostToPodIp,
    },
    outbound: {
      ...base.outbound,
      excludePorts: settings.outboundPorts,
      excludeCidrs: settings.excludeCidrs,
      includeCidrs: settings.includeCidrs,
    },
    inbound: { ...base.inbound, excludePorts: [...settings.inboundPorts, ...own] },
    interfaces: { ...base.interfaces, exclude: settings.interfaces },
    dns: edge ? dns : base.dns,
  });
}

/** Admission refuses what is not a number above 0 or a CIDR, so the annotations are read in any case. */
function annotated(reading: Reading, pod: PodObject, mesh: MeshSettings['osm'] = {}): OsmScript {
  const take = <T>(word: string, parse: (text: string) => Parsed<T[]>): T[] => {
    const name = `${DOMAIN}/${word}`;
    return reading.take(name, pod.metadata.annotations[name], parse, []);
  };
  const ports = (text: string) =>
    parseList(text, { spaces: true }, (element) => {
      const port = parsePort(element);
      if (!port.ok || port.value === 0) return refuse(element, 'a port from 1 to 65535');
      return { ok: true as const, value: { first: port.value, last: port.value } };
    });
  const cidrs = (text: string) => parseCidrList(text, { spaces: true });
  const single = (port: number) => ({ first: port, last: port });
  // The injector merges the mesh's lists with the pod's.
  const included = [
    ...take('outbound-ip-range-inclusion-list', cidrs),
    ...blocks(mesh.outboundIPRangeInclusionList),
  ];
  return {
    outboundPorts: [
      ...take('outbound-port-exclusion-list', ports),
      ...(mesh.outboundPortExclusionList ?? []).map(single),
    ],
    inboundPorts: [
      ...take('inbound-port-exclusion-list', ports),
      ...(mesh.inboundPortExclusionList ?? []).map(single),
    ],
    excludeCidrs: [
      ...take('outbound-ip-range-exclusion-list', cidrs),
      ...blocks(mesh.outboundIPRangeExclusionList),
    ],
    includeCidrs: included.length === 0 ? '*' : included,
    interfaces: mesh.networkInterfaceExclusionList ?? [],
    selfCallsInbound: true,
    applicationLocal: true,
    localhostToPodIp: mesh.localProxyMode === 'PodIP',
    unknown: [],
  };
}

/** Blocks of the settings, which were read when the file was. */
function blocks(texts: readonly string[] = []): string[] {
  return texts.flatMap((text) => {
    const block = parseCidrOrAddress(text);
    return block.ok ? [block.value] : [];
  });
}
