/** What Kuma's rules are made from, wherever it stands on the pod. */
import * as v from 'valibot';
import { parse as parseYaml } from 'yaml';
import type { ContainerSpec, PodObject } from '../pod/workload.ts';
import type { PortRange, RedirectPolicy } from '../policy/policy.ts';
import { isInterfaceName } from '../policy/validate.ts';
import {
  type Parsed,
  parseCidrOrAddress,
  parseIdRange,
  parseList,
  parsePort,
  parsePortRange,
  quote,
  refuse,
} from './annotation_list.ts';
import { longOptions, type Reading } from './reading.ts';
import type { MeshSettings } from './settings.ts';

const CONFIG = 'traffic.kuma.io/transparent-proxy-config';
const TRAFFIC = 'traffic.kuma.io';

type UidPorts = RedirectPolicy['exempt']['uidPorts'][number];

export interface KumaFlow {
  enabled: boolean;
  port: number;
  includePorts: PortRange[];
  excludePorts: PortRange[];
  /** Addresses of the other end that pass, as CIDRs. */
  excludeAddresses: string[];
  uidPorts: UidPorts[];
}

export interface KumaSettings {
  uid: number;
  dualStack: boolean;
  inbound: KumaFlow;
  outbound: KumaFlow;
  dns: { enabled: boolean; port: number; captureAll: boolean; skipZones: boolean };
  virtual: { name: string; cidr: string }[];
  dropInvalid: boolean;
}

/** Where a value stands in each of the three ways a pod may carry it. */
interface Place {
  path: string;
  flag: string;
  annotation: string;
}

const PLACES = {
  uid: { path: 'kumaDPUser', flag: 'kuma-dp-user', annotation: 'kuma.io/sidecar-uid' },
  familyMode: {
    path: 'ipFamilyMode',
    flag: 'ip-family-mode',
    annotation: 'kuma.io/transparent-proxying-ip-family-mode',
  },
  inboundEnabled: { path: 'redirect.inbound.enabled', flag: 'redirect-inbound', annotation: '' },
  inboundPort: {
    path: 'redirect.inbound.port',
    flag: 'redirect-inbound-port',
    annotation: 'kuma.io/transparent-proxying-inbound-port',
  },
  inboundInclude: { path: 'redirect.inbound.includePorts', flag: 'include-inbound-ports', annotation: '' },
  inboundExclude: {
    path: 'redirect.inbound.excludePorts',
    flag: 'exclude-inbound-ports',
    annotation: `${TRAFFIC}/exclude-inbound-ports`,
  },
  inboundAddresses: {
    path: 'redirect.inbound.excludePortsForIPs',
    flag: 'exclude-inbound-ips',
    annotation: `${TRAFFIC}/exclude-inbound-ips`,
  },
  outboundEnabled: { path: 'redirect.outbound.enabled', flag: 'redirect-outbound', annotation: '' },
  outboundPort: {
    path: 'redirect.outbound.port',
    flag: 'redirect-outbound-port',
    annotation: 'kuma.io/transparent-proxying-outbound-port',
  },
  outboundInclude: { path: 'redirect.outbound.includePorts', flag: 'include-outbound-ports', annotation: '' },
  outboundExclude: {
    path: 'redirect.outbound.excludePorts',
    flag: 'exclude-outbound-ports',
    annotation: `${TRAFFIC}/exclude-outbound-ports`,
  },
  outboundAddresses: {
    path: 'redirect.outbound.excludePortsForIPs',
    flag: 'exclude-outbound-ips',
    annotation: `${TRAFFIC}/exclude-outbound-ips`,
  },
  uidPorts: {
    path: 'redirect.outbound.excludePortsForUIDs',
    flag: 'exclude-outbound-ports-for-uids',
    annotation: `${TRAFFIC}/exclude-outbound-ports-for-uids`,
  },
  dnsEnabled: { path: 'redirect.dns.enabled', flag: 'redirect-dns', annotation: 'kuma.io/builtin-dns' },
  dnsPort: { path: 'redirect.dns.port', flag: 'redirect-dns-port', annotation: 'kuma.io/builtin-dns-port' },
  dnsAll: { path: 'redirect.dns.captureAll', flag: 'redirect-all-dns-traffic', annotation: '' },
  dnsZones: {
    path: 'redirect.dns.skipConntrackZoneSplit',
    flag: 'skip-dns-conntrack-zone-split',
    annotation: '',
  },
  virtual: { path: 'redirect.vnet.networks', flag: 'redirect-vnet', annotation: '' },
  dropInvalid: {
    path: 'dropInvalidPackets',
    flag: 'drop-invalid-packets',
    annotation: `${TRAFFIC}/drop-invalid-packets`,
  },
  probePort: { path: '', flag: '', annotation: 'kuma.io/application-probe-proxy-port' },
} as const satisfies Record<string, Place>;

/** In Kuma's schema of both directions; what is received has no user. */
const INBOUND_UID_PORTS: Place = { path: 'redirect.inbound.excludePortsForUIDs', flag: '', annotation: '' };

/** The control plane's runtime settings, as texts of each place that they speak of. */
function runtimeTexts(runtime: NonNullable<MeshSettings['kuma']>): Map<Place, string[]> {
  const { dns = {} } = runtime;
  const list = (values: readonly (string | number)[] | undefined) =>
    values === undefined || values.length === 0 ? undefined : values.map(String);
  const one = (value: string | number | boolean | undefined) =>
    value === undefined ? undefined : [String(value)];
  const texts: [Place, string[] | undefined][] = [
    [PLACES.uid, one(runtime.uid)],
    [PLACES.outboundPort, one(runtime.outboundPort)],
    [PLACES.inboundPort, one(runtime.inboundPort)],
    [PLACES.familyMode, one(runtime.ipFamilyMode)],
    [PLACES.dnsEnabled, one(dns.enabled)],
    [PLACES.dnsPort, one(dns.port)],
    [PLACES.dnsAll, one(dns.captureAll)],
    [PLACES.dnsZones, one(dns.skipConntrackZoneSplit)],
    [PLACES.inboundExclude, list(runtime.excludeInboundPorts)],
    [PLACES.outboundExclude, list(runtime.excludeOutboundPorts)],
    [PLACES.inboundAddresses, list(runtime.excludeInboundIPs)],
    [PLACES.outboundAddresses, list(runtime.excludeOutboundIPs)],
    [PLACES.uidPorts, list(runtime.excludeOutboundPortsForUIDs)],
    [PLACES.dropInvalid, one(runtime.dropInvalidPackets)],
  ];
  return new Map(texts.flatMap(([place, found]) => (found === undefined ? [] : [[place, found]])));
}

/** @returns null when the YAML cannot be read at all; single bad values are the reading's */
export function kumaSettings(
  reading: Reading,
  pod: PodObject,
  init: ContainerSpec | null,
  runtime: MeshSettings['kuma'] = {},
): KumaSettings | null {
  const source = sourceOf(reading, pod, init);
  if (source === null) return null;
  const { kind } = source;
  const instead = runtimeTexts(runtime);
  const read: Source['read'] = (place) => {
    const found = source.read(place);
    const texts = found.texts ?? instead.get(place);
    return { name: found.texts === undefined && texts ? 'kuma in the settings' : found.name, texts };
  };
  const one = <T>(place: Place, parse: (text: string) => Parsed<T>, instead: NoInfer<T>): T => {
    const { name, texts } = read(place);
    // The last of an option counts, and "empty" is how Kuma says that a value is not set.
    const text = texts?.at(-1);
    return reading.take(name, text === '' || text === 'empty' ? undefined : text, parse, instead);
  };
  const many = <T>(place: Place, parse: (text: string) => Parsed<T[]>): T[] => {
    const { name, texts = [] } = read(place);
    return texts.flatMap((text) => reading.take(name, text === 'empty' ? '' : text, parse, []));
  };
  // In flags, capture of all queries is how DNS is switched on.
  const flags = kind === 'flags';
  const allDns = read(PLACES.dnsAll).texts?.at(-1) === 'true';
  const probe = one(PLACES.probePort, parsePort, 0);
  const flow = (direction: 'inbound' | 'outbound', port: number): KumaFlow => ({
    enabled: one(PLACES[`${direction}Enabled`], parseSwitch, true),
    port: one(PLACES[`${direction}Port`], parsePort, port),
    includePorts: many(PLACES[`${direction}Include`], parsePorts),
    excludePorts: many(PLACES[`${direction}Exclude`], parsePorts),
    excludeAddresses: many(PLACES[`${direction}Addresses`], (text) =>
      parseList(text, { spaces: true }, parseCidrOrAddress),
    ),
    uidPorts: [],
  });
  const inbound = flow('inbound', 15_006);
  const ofUsers = many(INBOUND_UID_PORTS, parseUidPorts);
  if (inbound.enabled && ofUsers.length > 0) {
    const { name, texts = [] } = read(INBOUND_UID_PORTS);
    const problem =
      "Kuma's rule for it is one of source addresses without an address, which iptables refuses";
    reading.reject(name, texts.join(';'), problem);
  }
  if (probe !== 0) inbound.excludePorts.push({ first: probe, last: probe });
  return {
    uid: one(PLACES.uid, parseUser, 5678),
    dualStack: one(PLACES.familyMode, parseFamilyMode, true),
    inbound,
    outbound: { ...flow('outbound', 15_001), uidPorts: many(PLACES.uidPorts, parseUidPorts) },
    dns: {
      enabled: one(PLACES.dnsEnabled, parseSwitch, flags && allDns),
      port: one(PLACES.dnsPort, parsePort, 15_053),
      captureAll: one(PLACES.dnsAll, parseSwitch, !flags),
      skipZones: one(PLACES.dnsZones, parseSwitch, false),
    },
    virtual: many(PLACES.virtual, (text) => parseList(text, { spaces: true }, parseVirtual)),
    dropInvalid: one(PLACES.dropInvalid, parseSwitch, false),
  };
}

/** One of the three ways. A place's texts are undefined where it says nothing. */
interface Source {
  kind: 'yaml' | 'flags' | 'annotations';
  read(place: Place): { name: string; texts: string[] | undefined };
}

function sourceOf(reading: Reading, pod: PodObject, init: ContainerSpec | null): Source | null {
  const { annotations } = pod.metadata;
  const options = init === null ? null : longOptions(init.args);
  const file = ['config', 'config-file', 'config-dir'].find((name) => options?.has(name));
  if (annotations[CONFIG] === undefined && file !== undefined) {
    const value = options?.get(file)?.at(-1) ?? '';
    const problem = `it names a file of the container, which the Pod does not show without ${CONFIG}`;
    reading.reject(`argument --${file} of kuma-init`, value, problem);
    return null;
  }
  const yaml = annotations[CONFIG];
  if (yaml !== undefined) {
    const tree = reading.take<unknown>(CONFIG, yaml, parseConfig, null);
    if (tree === null) return null;
    const read: Source['read'] = (place) => ({
      name: `${CONFIG}, ${place.path}`,
      texts: place.path === '' ? undefined : at(tree, place),
    });
    return { kind: 'yaml', read };
  }
  if (options !== null && options.size > 0) {
    const read: Source['read'] = ({ flag }) => {
      // Older versions told the user by a uid alone.
      const found = options.get(flag) ?? (flag === PLACES.uid.flag ? options.get('kuma-dp-uid') : undefined);
      return { name: `argument --${flag} of kuma-init`, texts: found };
    };
    return { kind: 'flags', read };
  }
  const read: Source['read'] = ({ annotation }) => {
    const text = annotations[annotation];
    const several = annotation === PLACES.uidPorts.annotation ? text?.split(';') : undefined;
    return { name: annotation, texts: several ?? (text === undefined ? undefined : [text]) };
  };
  return { kind: 'annotations', read };
}

/** Kuma's own is 1 KB; with 5,000 CIDRs 100 KB. The parser takes seconds for a megabyte of brackets. */
const MAX_CONFIG_LENGTH = 256 * 1024;
/** Brackets open at once: each costs the parser a stack frame, and its recovery from an overflow takes seconds. */
const MAX_NESTING = 50;

/** The YAML's own aliases are refused: a few lines of them could make gigabytes. */
function parseConfig(text: string): Parsed<unknown> {
  if (text.length > MAX_CONFIG_LENGTH) return { ok: false, problem: 'it is longer than 256 KiB' };
  if (nesting(text) > MAX_NESTING) return { ok: false, problem: 'it is nested too deeply' };
  try {
    const value: unknown = parseYaml(text, { maxAliasCount: 0, logLevel: 'error' });
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ok: true, value };
    return { ok: false, problem: 'it is not a YAML mapping' };
  } catch {
    return { ok: false, problem: 'it is not YAML' };
  }
}

function nesting(text: string): number {
  let depth = 0;
  let most = 0;
  for (const character of text) {
    if (character === '[' || character === '{') most = Math.max(most, ++depth);
    else if (character === ']' || character === '}') depth--;
  }
  return most;
}

const Scalar = v.union([v.string(), v.number(), v.boolean()]);
const UidPortsObject = v.object({
  protocol: v.nullish(v.string(), ''),
  ports: v.nullish(v.string(), ''),
  uids: v.union([v.string(), v.number()]),
});

/** Lists stand as YAML lists or, like in flags, as text with commas. A value of another shape reads as a bad one. */
function at(tree: unknown, { path }: Place): string[] | undefined {
  let value: unknown = tree;
  for (const key of path.split('.')) {
    const object = v.safeParse(v.record(v.string(), v.unknown()), value);
    value = object.success && Object.hasOwn(object.output, key) ? object.output[key] : undefined;
  }
  if (value === undefined || value === null) return undefined;
  const list = v.safeParse(v.array(v.unknown()), value);
  return (list.success ? list.output : [value]).map((element) => {
    const rule = v.safeParse(UidPortsObject, element);
    if (rule.success) return `${rule.output.protocol}:${rule.output.ports}:${rule.output.uids}`;
    const scalar = v.safeParse(Scalar, element);
    return scalar.success ? String(scalar.output) : '[object]';
  });
}

/** 1 to 65535: Kuma has no port 0 and no ranges. */
function parsePorts(text: string): Parsed<PortRange[]> {
  return parseList(text, { spaces: true }, (element) => {
    const port = parsePort(element);
    if (!port.ok || port.value === 0) return refuse(element, 'a port from 1 to 65535');
    return { ok: true, value: { first: port.value, last: port.value } };
  });
}

function parseSwitch(text: string): Parsed<boolean> {
  if (['true', 'yes', 'enabled'].includes(text)) return { ok: true, value: true };
  if (['false', 'no', 'disabled'].includes(text)) return { ok: true, value: false };
  return refuse(text, 'true or false');
}

function parseFamilyMode(text: string): Parsed<boolean> {
  if (text === 'dualstack') return { ok: true, value: true };
  return text === 'ipv4' ? { ok: true, value: false } : refuse(text, 'dualstack or ipv4');
}

/** In a pod the user is a uid: the name `kuma-dp` is known to no container but the sidecar's. */
function parseUser(text: string): Parsed<number> {
  const id = parseIdRange(text);
  if (id.ok && id.value.first === id.value.last) return { ok: true, value: id.value.first };
  return refuse(text, 'a numeric uid');
}

/** `[protocol:][ports:]uids`: the last part alone is required, and is one uid or a range. */
export function parseUidPorts(text: string): Parsed<UidPorts[]> {
  const whole = text.trim();
  if (whole === '') return { ok: true, value: [] };
  const parts = whole.split(':');
  const uids = parseIdRange(parts.at(-1) ?? '');
  if (!uids.ok || parts.length > 3) {
    return { ok: false, problem: `${quote(whole)} is not [protocol:][ports:]uids with one uid or a range` };
  }
  const [portText = '*'] = parts.slice(-2, -1);
  const [protocol = '*'] = parts.slice(-3, -2);
  const protocols = { tcp: 'tcp', udp: 'udp', '*': 'both', '': 'both' } as const;
  const known = v.safeParse(v.picklist(['tcp', 'udp', '*', '']), protocol);
  if (!known.success) return refuse(protocol, 'tcp, udp or *');
  const all = portText === '*' || portText === '';
  const ports: Parsed<PortRange[]> = all
    ? { ok: true, value: [{ first: 1, last: 65_535 }] }
    : parseList(portText, {}, (element) => parsePortRange(element, '-'));
  if (!ports.ok) return ports;
  return { ok: true, value: [{ protocols: protocols[known.output], ports: ports.value, uids: uids.value }] };
}

/** `interface:CIDR`; the name may end in iptables' `+`. */
function parseVirtual(text: string): Parsed<{ name: string; cidr: string }> {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(0, colon));
  const cidr = parseCidrOrAddress(text.slice(colon + 1));
  if (colon === -1 || !cidr.ok || !isInterfaceName(name)) {
    return refuse(text, 'an interface and a CIDR such as docker0:172.17.0.0/16');
  }
  return { ok: true, value: { name, cidr: cidr.value } };
}
