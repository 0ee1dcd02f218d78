/** The policy of a pod that Istio captures, from the arguments of its init container or from its annotations. */
import type { ContainerSpec, PodObject } from '../pod/workload.ts';
import { addressFamily, parseAddress } from '../policy/address.ts';
import { isLoopbackCidr, parseCidr } from '../policy/cidr.ts';
import { normalPolicy } from '../policy/json.ts';
import { basePolicy, type PortRange, type RedirectPolicy } from '../policy/policy.ts';
import { policyProblems } from '../policy/validate.ts';
import {
  clip,
  type ListRules,
  type Parsed,
  parseCidrList,
  parseGoBool,
  parseIdList,
  parseInterfaceList,
  parsePort,
  parsePortList,
} from './annotation_list.ts';
import { type GivenOption, type IptablesOption, parseIptablesArgs } from './istio_iptables_args.ts';
import { environment, istioNotes } from './istio_notes.ts';
import { nameserversOf } from './nameservers.ts';
import { type Allocated, groupsOf, uidsOf } from './openshift.ts';
import type { NamespaceObject, PolicyNote, ProfileContext } from './profile.ts';
import type { MeshSettings } from './settings.ts';

const STATUS_PORT = 'status.sidecar.istio.io/port';
const EXCLUDE_INTERFACES = 'traffic.sidecar.istio.io/excludeInterfaces';
/** The first that is there decides; the second is its deprecated name. */
const REROUTE_INTERFACES = [
  'istio.io/reroute-virtual-interfaces',
  'traffic.sidecar.istio.io/kubevirtInterfaces',
] as const;
const OWNER_GROUPS = 'ISTIO_OUTBOUND_OWNER_GROUPS';
const LOOPBACK_CIDR = 'ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR';
/** istio-iptables refuses a longer list, because each is a rule. */
const MAX_OWNER_GROUPS = 64;
const DNS_PORT = 15_053;
const DEFAULT_STATUS_PORT = '15020';
const DEFAULT_ID = 1337;
/** 15001 and 15006 are fixed in CNI mode; HBONE's 15008 is not told to the plugin either. */
const DEFAULT_PORTS = { outboundPort: 15_001, inboundPort: 15_006, tunnelPort: 15_008 } as const;
/** Always excluded inbound: Envoy's metrics and health; in CNI mode also the merged metrics, whatever their port. */
const INIT_EXCLUDED_INBOUND = [15_090, 15_021];
const CNI_EXCLUDED_INBOUND = [15_020, 15_021, 15_090];

interface ListSetting {
  /** `*` is all. In the lists that may not have it iptables would fail on it. */
  wildcard: boolean;
  /** Checked by the injector's webhook. The CNI plugin checks all. */
  webhook: boolean;
  /** Where neither an annotation nor an argument says anything. */
  initDefault: string;
  cniDefault: string;
}

/** reference/meshes.md 1.1.1, in its order. The annotation is `traffic.sidecar.istio.io/` and the name. */
const LISTS = {
  includeInboundPorts: { wildcard: true, webhook: true, initDefault: '*', cniDefault: '*' },
  excludeInboundPorts: { wildcard: false, webhook: true, initDefault: '', cniDefault: '15020' },
  includeOutboundPorts: { wildcard: false, webhook: false, initDefault: '', cniDefault: '' },
  excludeOutboundPorts: { wildcard: false, webhook: true, initDefault: '', cniDefault: '15020' },
  includeOutboundIPRanges: { wildcard: true, webhook: true, initDefault: '*', cniDefault: '*' },
  excludeOutboundIPRanges: { wildcard: false, webhook: true, initDefault: '', cniDefault: '' },
} as const satisfies Partial<Record<IptablesOption, ListSetting>>;
type ListName = keyof typeof LISTS;

/** What istio-iptables makes of its arguments: it drops empty elements, and iptables-restore drops spaces. */
const ARGUMENT_RULES: ListRules = { spaces: true, emptyElements: true };
/** What webhook and plugin take in annotations: no empty element, and spaces only around ports. */
const PORT_RULES: ListRules = { spaces: true };
const CIDR_RULES: ListRules = {};

export interface PolicyOutcome {
  /** Null when Istio would refuse the pod; the notes say why. */
  policy: RedirectPolicy | null;
  notes: PolicyNote[];
}

/**
 * @param proxy the pod's istio-proxy
 * @param init its istio-init, or null in CNI mode
 */
export function istioPolicy(
  pod: PodObject,
  proxy: ContainerSpec,
  init: ContainerSpec | null,
  context: ProfileContext = {},
): PolicyOutcome {
  const reading = new Reading(pod, init, context.settings?.istio);
  const includeInbound = reading.ports('includeInboundPorts');
  const excludeInbound = reading.excludedInbound();
  const includeCidrs = reading.cidrs('includeOutboundIPRanges');
  const base = basePolicy('istio', reading.identity(proxy, context.namespace), {
    outbound: reading.port('outboundPort'),
    inbound: reading.port('inboundPort'),
    tunnel: reading.port('tunnelPort'),
  });
  const policy = normalPolicy({
    ...base,
    families: families(pod, proxy),
    exempt: { ...base.exempt, ...reading.ownerGroups() },
    loopback: {
      ...base.loopback,
      localhost4: reading.localhost4(),
      // An include list that names loopback takes the rule for `-o lo` away; the one for localhost stays.
      application: listed(includeCidrs).some(isLoopbackText) ? 'bypass-localhost' : 'bypass-local',
    },
    outbound: {
      ...base.outbound,
      excludePorts: listed(reading.ports('excludeOutboundPorts')),
      excludePortProtocols: 'both',
      includePorts: listed(reading.ports('includeOutboundPorts')),
      excludeCidrs: listed(reading.cidrs('excludeOutboundIPRanges')),
      includeCidrs,
    },
    inbound: {
      ...base.inbound,
      includePorts: includeInbound,
      // With a list of ports to capture, Istio does not look at the exclusions.
      excludePorts: includeInbound === '*' ? excludeInbound : [],
    },
    interfaces: { ...base.interfaces, ...reading.interfaces() },
    dns: istioDns(pod, proxy, init, context),
    misc: { dropInvalid: parseGoBool(environment(proxy, init).INVALID_DROP ?? '') === true },
  });
  if (reading.rejected.length > 0) return { policy: null, notes: reading.rejected };
  const problems = policyProblems(policy).map((message) => ({
    annotation: 'istio-init',
    value: '',
    message,
  }));
  if (problems.length > 0) return { policy: null, notes: problems };
  return { policy, notes: [...reading.notes, ...istioNotes(pod, proxy, init, policy)] };
}

/** Rules of IPv6 follow the pod's first address, or any in a mesh of two families; those of IPv4 are always there. */
function families(pod: PodObject, proxy: ContainerSpec): RedirectPolicy['families'] {
  const all = pod.status.podIPs.map((ip) => addressFamilyOf(ip));
  // Before the pod has an address nobody knows; the backend captures what the pod turns out to have.
  if (all.length === 0) return { ip4: true, ip6: true };
  const dualStack = parseGoBool(proxy.env.ISTIO_DUAL_STACK ?? '') === true;
  return { ip4: true, ip6: dualStack ? all.includes(6) : all[0] === 6 };
}

function addressFamilyOf(ip: string): 4 | 6 | null {
  const bytes = parseAddress(ip);
  return bytes === null ? null : addressFamily(bytes);
}

/**
 * In CNI mode every query. In init mode those to the servers of the pod's resolv.conf, which istio-init reads.
 */
function istioDns(
  pod: PodObject,
  proxy: ContainerSpec,
  init: ContainerSpec | null,
  context: ProfileContext,
): RedirectPolicy['dns'] {
  const env = environment(proxy, init);
  const off = { mode: 'off', servers: [], target: null, tcp: 'as-other-tcp', splitZones: false } as const;
  if (parseGoBool(env.ISTIO_META_DNS_CAPTURE ?? '') !== true) return { ...off, servers: [] };
  const all = init === null || parseGoBool(env.CAPTURE_ALL_DNS ?? '') === true;
  return {
    mode: all ? 'all' : 'servers',
    servers: all ? [] : nameserversOf(pod, context),
    target: { address: null, port: DNS_PORT },
    tcp: 'capture',
    splitZones: true,
  };
}

function isLoopbackText(text: string): boolean {
  const cidr = parseCidr(text);
  return cidr !== null && isLoopbackCidr(cidr);
}

/** Reads a pod's settings one by one and gathers what Istio would refuse. */
class Reading {
  readonly rejected: PolicyNote[] = [];
  readonly notes: PolicyNote[] = [];
  readonly #annotations: Record<string, string>;
  /** Null in CNI mode, where no argument counts. */
  readonly #options: Map<IptablesOption, GivenOption> | null;

  readonly #init: ContainerSpec | null;
  readonly #plugin: MeshSettings['istio'];

  /** @param plugin what the settings say of the CNI plugin's own environment */
  constructor(pod: PodObject, init: ContainerSpec | null, plugin: MeshSettings['istio']) {
    this.#init = init;
    this.#plugin = plugin;
    this.#annotations = pod.metadata.annotations;
    this.#options = init === null ? null : parseIptablesArgs(init.args);
  }

  ports(name: ListName): PortRange[] | '*' {
    return this.#list(name, PORT_RULES, parsePortList);
  }

  cidrs(name: ListName): string[] | '*' {
    return this.#list(name, CIDR_RULES, parseCidrList);
  }

  /** The injector writes the ports that are always excluded into the argument; elsewhere they are added here. */
  excludedInbound(): PortRange[] {
    const statusPort = this.#statusPort();
    const list = listed(this.ports('excludeInboundPorts'));
    if (this.#options === null) return [...list, ...CNI_EXCLUDED_INBOUND.map(single)];
    if (this.#options.has('excludeInboundPorts')) return list;
    return [...list, ...[...INIT_EXCLUDED_INBOUND, ...statusPort].map(single)];
  }

  interfaces(): { exclude: string[]; reroute: string[] } {
    return {
      exclude: this.#interfaces('excludeInterfaces', EXCLUDE_INTERFACES),
      reroute: this.#interfaces(
        'rerouteInterfaces',
        REROUTE_INTERFACES.find((annotation) => this.#annotations[annotation] !== undefined) ??
          REROUTE_INTERFACES[0],
      ),
    };
  }

  #interfaces(option: IptablesOption, annotation: string): string[] {
    const text = this.#annotations[annotation] ?? '';
    const own = this.#take(annotation, text, parseInterfaceList(text, ARGUMENT_RULES), []);
    const given = this.#options?.get(option);
    if (given === undefined) return own;
    return this.#take(argumentName(given), given.value, parseInterfaceList(given.value, ARGUMENT_RULES), []);
  }

  /** The plugin reads these from its own environment, so a pod in CNI mode has no say. */
  ownerGroups(): { includeGids: number[] | '*'; excludeGids: number[] } {
    if (this.#init === null) {
      return {
        includeGids: this.#plugin?.outboundOwnerGroups ?? '*',
        excludeGids: this.#plugin?.outboundOwnerGroupsExclude ?? [],
      };
    }
    const include = this.#initEnv(OWNER_GROUPS);
    return {
      includeGids: include === '' || include === '*' ? '*' : this.#groups(OWNER_GROUPS, include),
      excludeGids: this.#groups(`${OWNER_GROUPS}_EXCLUDE`, this.#initEnv(`${OWNER_GROUPS}_EXCLUDE`)),
    };
  }

  #groups(name: string, text: string): number[] {
    const groups = this.#take(`env ${name}`, text, parseIdList(text, ARGUMENT_RULES), []);
    if (groups.length <= MAX_OWNER_GROUPS) return groups;
    const problem = `it has ${groups.length} groups, at most ${MAX_OWNER_GROUPS} are allowed`;
    return this.#take(`env ${name}`, text, { ok: false, problem }, []);
  }

  localhost4(): string {
    if (this.#init === null) return this.#plugin?.outboundIpv4LoopbackCidr ?? '127.0.0.1/32';
    const text = this.#initEnv(LOOPBACK_CIDR);
    if (text === '') return '127.0.0.1/32';
    const cidr = parseCidr(text);
    const inside = cidr !== null && cidr.family === 4 && cidr.bytes[12] === 127 && cidr.bits >= 8;
    const parsed: Parsed<string> = inside
      ? { ok: true, value: text }
      : { ok: false, problem: 'it is not a CIDR inside 127.0.0.0/8' };
    return this.#take(`env ${LOOPBACK_CIDR}`, text, parsed, '127.0.0.1/32');
  }

  #initEnv(name: string): string {
    return this.#init?.env[name]?.trim() ?? '';
  }

  port(option: keyof typeof DEFAULT_PORTS): number {
    const given = this.#options?.get(option);
    if (given === undefined) return DEFAULT_PORTS[option];
    return this.#take(argumentName(given), given.value, parsePort(given.value), DEFAULT_PORTS[option]);
  }

  identity(proxy: ContainerSpec, namespace: NamespaceObject | undefined): RedirectPolicy['identity'] {
    if (this.#options === null) {
      const uid = proxy.runAsUser ?? this.#highest(uidsOf(namespace));
      const gid = proxy.runAsGroup ?? this.#highest(groupsOf(namespace));
      // A proxy that runs as root (capNetBindService) is told by its gid; the plugin takes 1337 for its uid then.
      return { proxyUids: [uid || DEFAULT_ID], proxyGids: [gid || DEFAULT_ID] };
    }
    const uids = this.#ids('proxyUid') ?? [DEFAULT_ID];
    // The injector passes no gid, and istio-iptables then takes the uids for gids, whatever runAsGroup says.
    return { proxyUids: uids, proxyGids: this.#ids('proxyGid') ?? uids };
  }

  /** Of a block that OpenShift gave the namespace. The injector passes over one that it cannot read. */
  #highest(allocated: Allocated | null): number | undefined {
    if (allocated === null) return undefined;
    const { annotation, text, block } = allocated;
    if (block.ok) return block.value.last;
    const message = `${block.problem}, so ${DEFAULT_ID} is taken`;
    this.notes.push({ annotation: `namespace, ${annotation}`, value: clip(text), message });
    return undefined;
  }

  #ids(option: 'proxyUid' | 'proxyGid'): number[] | null {
    const given = this.#options?.get(option);
    if (given === undefined || given.value === '') return null;
    return this.#take(argumentName(given), given.value, parseIdList(given.value, ARGUMENT_RULES), []);
  }

  #list<T>(
    name: ListName,
    annotationRules: ListRules,
    parse: (text: string, rules: ListRules) => Parsed<T[]>,
  ): T[] | '*' {
    const setting: ListSetting = LISTS[name];
    const read = (text: string, rules: ListRules): Parsed<T[] | '*'> => {
      if (text !== '*') return parse(text, rules);
      return setting.wildcard
        ? { ok: true, value: '*' }
        : { ok: false, problem: '"*" is not allowed in this list' };
    };
    const cniMode = this.#options === null;
    const annotation = `traffic.sidecar.istio.io/${name}`;
    const text = this.#annotations[annotation] ?? (cniMode ? setting.cniDefault : setting.initDefault);
    const rules = setting.webhook || cniMode ? annotationRules : ARGUMENT_RULES;
    // Read even where an argument decides: the webhook would have refused the pod for it.
    const own = this.#take(annotation, text, read(text, rules), []);
    const given = this.#options?.get(name);
    if (given === undefined) return own;
    return this.#take(argumentName(given), given.value, read(given.value, ARGUMENT_RULES), []);
  }

  /** None for 0, which is how a pod goes without. */
  #statusPort(): number[] {
    const text = this.#annotations[STATUS_PORT] ?? DEFAULT_STATUS_PORT;
    const port = this.#take(STATUS_PORT, text, parsePort(text.trim()), 0);
    return port === 0 ? [] : [port];
  }

  #take<T>(annotation: string, value: string, parsed: Parsed<T>, instead: NoInfer<T>): T {
    if (parsed.ok) return parsed.value;
    this.rejected.push({
      annotation,
      value: clip(value),
      message: `${parsed.problem}, so Istio refuses the pod`,
    });
    return instead;
  }
}

function listed<T>(list: T[] | '*'): T[] {
  return list === '*' ? [] : list;
}

const single = (port: number): PortRange => ({ first: port, last: port });
const argumentName = (given: GivenOption) => `argument ${given.flag} of istio-init`;
