import type { OrderedDecision, OrderedRule } from './decision.ts';
import { orderOf, type Step } from './order.ts';
import type { IdRange, PortRange, RedirectPolicy } from './policy.ts';
import { formatPortRange } from './port_range.ts';

/** One rule of a policy in words. */
export interface PolicyRule {
  direction: 'outbound' | 'inbound';
  /** Which connections it is about. */
  when: string;
  /** What happens to them. */
  then: string;
  /** As `shunt explain` names the rule that decided. */
  rule: OrderedRule;
  verdict: OrderedDecision['verdict'];
}

const LEFT = 'left alone';
const OWN_ADDRESS = 'an address of the pod';
const DNS_PORT = 53;

/**
 * The policy as people read it: rules in the order in which the mesh tries them, the first that fits decides. They
 * speak of TCP where they do not say otherwise; of UDP, queries to port 53 are all that a mesh takes. decideInOrder()
 * decides by the same rules in the same order.
 */
export function explainPolicy(policy: RedirectPolicy): PolicyRule[] {
  const outbound = new RuleList('outbound', policy);
  for (const step of orderOf(policy.mesh)) STEPS[step](outbound, policy);
  if (!policy.outbound.enabled || policy.outbound.includeCidrs !== '*') {
    outbound.pass('to anywhere else', 'not-included');
  }
  return [...outbound.rules, ...inboundRules(policy)];
}

class RuleList {
  readonly rules: PolicyRule[] = [];
  readonly #direction: PolicyRule['direction'];

  constructor(direction: PolicyRule['direction'], { families }: RedirectPolicy) {
    this.#direction = direction;
    if (!families.ip4) this.pass('over IPv4', 'family');
    if (!families.ip6) this.pass('over IPv6', 'family');
  }

  add(when: string, then: string, rule: OrderedRule, verdict: PolicyRule['verdict']): void {
    this.rules.push({ direction: this.#direction, when, then, rule, verdict });
  }

  pass(when: string, rule: OrderedRule): void {
    this.add(when, LEFT, rule, 'pass');
  }

  /** A rule about a list, which says nothing when the list is empty. */
  passList(before: string, list: readonly (string | number)[], rule: OrderedRule): void {
    if (list.length > 0) this.pass(`${before} ${list.join(', ')}`, rule);
  }
}

type Say = (list: RuleList, policy: RedirectPolicy) => void;

const STEPS: Record<Step, Say> = {
  interfaces: (list, { interfaces }) =>
    list.passList('by the interface', interfaces.exclude, 'excluded-interface'),

  users: (list, { exempt }) => {
    if (exempt.uids.length > 0) list.pass(`of ${idList('uid', exempt.uids)}`, 'exempt-user');
  },

  'user-ports': (list, { exempt }) => {
    for (const { protocols, ports, uids } of exempt.uidPorts) {
      const said = { tcp: 'TCP', udp: 'UDP', both: 'TCP and UDP' }[protocols];
      list.pass(`of ${idList('uid', [uids])} to ${portList(ports)}, ${said}`, 'exempt-user-port');
    }
  },

  ports: (list, { outbound }) => {
    if (outbound.excludePorts.length === 0) return;
    const protocols = { tcp: '', udp: ', UDP', both: ', TCP and UDP' }[outbound.excludePortProtocols];
    list.pass(`to ${portList(outbound.excludePorts)}${protocols}`, 'excluded-port');
  },

  passthrough: (list, { loopback }) => {
    if (loopback.passthroughSource)
      list.pass(`from 127.0.0.6 or ::6 to ${OWN_ADDRESS}`, 'passthrough-source');
  },

  'pod-ip': (list, policy) => {
    if (!policy.loopback.sidecarLocalhostToPodIp || !policy.outbound.enabled) return;
    const then = "to the pod's own address, same port";
    list.add(`from ${sidecarName(policy)} to 127.0.0.1 or ::1`, then, 'sidecar-localhost', 'pod-address');
  },

  identity: (list, policy) => {
    if (policy.loopback.sidecar === 'inbound') return selfCallingSidecar(list, policy);
    list.pass(`from ${sidecarName(policy)}`, 'sidecar');
    if (policy.loopback.application === 'bypass-local') {
      list.pass(`from the application to ${OWN_ADDRESS}${butQueries(policy)}`, 'app-local');
    }
  },

  groups: (list, { exempt }) => {
    const { includeGids, excludeGids } = exempt;
    if (includeGids !== '*') {
      const none = includeGids.length === 0;
      list.pass(none ? 'of any group' : `of a gid other than ${includeGids.join(', ')}`, 'exempt-group');
    }
    list.passList('of gid', excludeGids, 'exempt-group');
  },

  'sidecar-dns': (list, policy) => {
    if (policy.dns.mode === 'off') return;
    list.pass(`from ${sidecarName(policy)} to port ${DNS_PORT}, ${queryProtocols(policy)}`, 'sidecar');
  },

  dns: (list, policy) => {
    const { mode, target, tcp, servers } = policy.dns;
    if (mode === 'off' || target === null) return;
    const { address, port } = target;
    const where = {
      all: '',
      servers: ` of ${servers.join(', ') || 'no server'}`,
      localhost: ' of 127.0.0.1 or ::1',
    }[mode];
    const then = address === null ? `to the DNS proxy, port ${port}` : `to ${address}, port ${port}`;
    // A resolver of one family takes no query of the other.
    const over = address === null ? '' : address.includes(':') ? ', over IPv6' : ', over IPv4';
    list.add(`to port ${DNS_PORT}${where}, ${queryProtocols(policy)}${over}`, then, 'dns', 'dns');
    if (tcp === 'bypass') list.pass(`from the application to port ${DNS_PORT}, TCP${over}`, 'dns-over-tcp');
  },

  localhost: (list, policy) => {
    const { application, sidecar, localhost4 } = policy.loopback;
    // Where all that goes to lo has been let pass already.
    if (application === 'bypass-local' && sidecar === 'bypass') return;
    list.pass(`to ${localhost4.replace(/\/32$/, '')} or ::1`, 'localhost');
  },

  blocks: (list, { outbound }) => list.passList('to', outbound.excludeCidrs, 'excluded-cidr'),

  'included-ports': (list, policy) => {
    const { enabled, includePorts } = policy.outbound;
    if (!enabled || includePorts.length === 0) return;
    list.add(`to ${portList(includePorts)}`, toSidecar(policy), 'included-port', 'outbound');
  },

  included: (list, policy) => {
    const { enabled, includeCidrs } = policy.outbound;
    if (!enabled) return;
    if (includeCidrs === '*') list.add('to anywhere else', toSidecar(policy), 'capture-all', 'outbound');
    else if (includeCidrs.length > 0) {
      list.add(`to ${includeCidrs.join(', ')}`, toSidecar(policy), 'included-cidr', 'outbound');
    }
  },
};

/** One of the sidecar's ids after the other: what is not of the first is an application to its rules. */
function selfCallingSidecar(list: RuleList, policy: RedirectPolicy): void {
  const { identity, loopback, ports, outbound, dns } = policy;
  const ids = [
    ...identity.proxyUids.map((id) => ({ kind: 'uid', id })),
    ...identity.proxyGids.map((id) => ({ kind: 'gid', id })),
  ];
  for (const { kind, id } of ids) {
    const query = dnsComesLater(policy) && dns.tcp === 'capture' && kind === 'uid' ? [DNS_PORT] : [];
    const excepted = [...(ports.tunnel === null ? [] : [ports.tunnel]), ...query];
    const except = excepted.length === 0 ? '' : `, not to port ${excepted.join(' or ')}`;
    if (outbound.enabled) {
      const when = `from ${kind} ${id} to ${OWN_ADDRESS} other than localhost${except}`;
      list.add(when, `to the sidecar, port ${ports.inbound}`, 'self-call', 'inbound');
    }
    if (loopback.application === 'bypass-local') {
      list.pass(`from another ${kind} than ${id} to ${OWN_ADDRESS}${butQueries(policy)}`, 'app-local');
    }
    list.pass(`from ${kind} ${id}`, 'sidecar');
  }
}

function inboundRules(policy: RedirectPolicy): PolicyRule[] {
  const { inbound, outbound, ports, interfaces, dns } = policy;
  const list = new RuleList('inbound', policy);
  const captured = `to the sidecar, port ${ports.inbound}`;
  const asOutbound = `as outbound: ${toSidecar(policy)}`;
  list.pass('from the pod itself', 'local-traffic');
  if (interfaces.reroute.length > 0) {
    const by = `by the interface ${interfaces.reroute.join(', ')}`;
    const all = outbound.includeCidrs === '*';
    const where = all ? '' : ` to ${[...outbound.includeCidrs].join(', ')}`;
    if (outbound.enabled && (all || where !== ' to ')) {
      list.add(`${by}${where}`, asOutbound, 'rerouted-interface', 'outbound');
    }
    list.pass(all && outbound.enabled ? `${by}, UDP` : by, 'rerouted-interface');
  }
  for (const { name, cidr } of interfaces.virtual) {
    const by = `by ${name} over ${cidr.includes(':') ? 'IPv6' : 'IPv4'}`;
    if (dns.mode !== 'off' && dns.target !== null) {
      const then = `to the DNS proxy, port ${dns.target.port}`;
      list.add(`${by} to port ${DNS_PORT}, UDP`, then, 'virtual-network', 'dns');
    }
    if (outbound.enabled) list.add(`${by}, not to ${cidr}`, asOutbound, 'virtual-network', 'outbound');
  }
  list.passList('by the interface', interfaces.exclude, 'excluded-interface');
  if (ports.tunnel !== null) list.pass(`to port ${ports.tunnel}`, 'tunnel-port');
  list.passList('from', inbound.excludeSources, 'excluded-source');
  if (!inbound.enabled) list.pass('to any other port', 'not-included');
  else if (inbound.includePorts === '*') {
    if (inbound.excludePorts.length > 0) list.pass(`to ${portList(inbound.excludePorts)}`, 'excluded-port');
    list.add('to any other port', captured, 'capture-all', 'inbound');
  } else {
    if (inbound.includePorts.length > 0) {
      list.add(`to ${portList(inbound.includePorts)}`, captured, 'included-port', 'inbound');
    }
    list.pass('to any other port', 'not-included');
  }
  return list.rules;
}

function toSidecar({ ports }: RedirectPolicy): string {
  return `to the sidecar, port ${ports.outbound}`;
}

function sidecarName({ identity }: RedirectPolicy): string {
  const ids = [
    ...identity.proxyUids.map((uid) => `uid ${uid}`),
    ...identity.proxyGids.map((gid) => `gid ${gid}`),
  ];
  return `the sidecar (${ids.join(' or ')})`;
}

function queryProtocols({ dns }: RedirectPolicy): string {
  return dns.tcp === 'capture' ? 'TCP and UDP' : 'UDP';
}

/** What goes to lo passes before DNS is looked at, unless it is a query that DNS would take. */
function butQueries(policy: RedirectPolicy): string {
  return dnsComesLater(policy) ? `, but for port ${DNS_PORT}, ${queryProtocols(policy)}` : '';
}

function dnsComesLater({ mesh, dns }: RedirectPolicy): boolean {
  const order = orderOf(mesh);
  return dns.mode !== 'off' && order.indexOf('dns') > order.indexOf('identity');
}

function portList(ranges: readonly PortRange[]): string {
  const [only] = ranges;
  const word = ranges.length === 1 && only?.first === only?.last ? 'port' : 'ports';
  return `${word} ${ranges.map(formatPortRange).join(', ')}`;
}

function idList(word: string, ranges: readonly IdRange[]): string {
  return `${word} ${ranges.map(formatPortRange).join(', ')}`;
}
