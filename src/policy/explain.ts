import { isLoopbackCidr, parseCidr } from './cidr.ts';
import type { IdRange, PortRange, RedirectPolicy } from './policy.ts';
import { formatPortRange } from './port_range.ts';

/** One rule of a policy in words. */
export interface PolicyRule {
  direction: 'outbound' | 'inbound';
  /** Which connections it is about. */
  when: string;
  /** What happens to them. */
  then: string;
}

const LEFT = 'left alone';

/**
 * The policy as people read it: rules in the order in which they are tried, the first that fits decides. They speak of
 * TCP where they do not say otherwise. The order is that of bpf/policy.h, which takes the decisions.
 */
export function explainPolicy(policy: RedirectPolicy): PolicyRule[] {
  return [...outboundRules(policy), ...inboundRules(policy)];
}

class RuleList {
  readonly rules: PolicyRule[] = [];
  readonly #direction: PolicyRule['direction'];

  constructor(direction: PolicyRule['direction'], { families }: RedirectPolicy) {
    this.#direction = direction;
    if (!families.ip4) this.add('over IPv4', LEFT);
    if (!families.ip6) this.add('over IPv6', LEFT);
  }

  add(when: string, then: string): void {
    this.rules.push({ direction: this.#direction, when, then });
  }

  /** A rule about a list, which says nothing when the list is empty. */
  addList(before: string, list: readonly (string | number)[], then: string): void {
    if (list.length > 0) this.add(`${before} ${list.join(', ')}`, then);
  }
}

function outboundRules(policy: RedirectPolicy): PolicyRule[] {
  const { outbound, ports, interfaces, loopback } = policy;
  const list = new RuleList('outbound', policy);
  const captured = `to the sidecar, port ${ports.outbound}`;
  if (!outbound.enabled) {
    list.add('to anywhere', LEFT);
    return list.rules;
  }
  list.addList('by the interface', interfaces.exclude, LEFT);
  addExemptUsers(list, policy);
  if (outbound.excludePorts.length > 0) {
    const protocols = { tcp: '', udp: ', UDP', both: ', TCP and UDP' }[outbound.excludePortProtocols];
    list.add(`to ${portList(outbound.excludePorts)}${protocols}`, LEFT);
  }
  addLocalRules(list, policy);
  addGroups(list, policy);
  addDns(list, policy);
  if (loopback.application !== 'capture') list.add(`to ${localhost(policy)}`, LEFT);
  list.addList('to', outbound.excludeCidrs, LEFT);
  if (outbound.includePorts.length > 0) list.add(`to ${portList(outbound.includePorts)}`, captured);
  if (outbound.includeCidrs === '*') {
    list.add('to anywhere else', captured);
  } else {
    list.addList('to', outbound.includeCidrs, captured);
    list.add('to anywhere else', LEFT);
  }
  return list.rules;
}

function addExemptUsers(list: RuleList, { exempt }: RedirectPolicy): void {
  if (exempt.uids.length > 0) list.add(`of ${idList('uid', exempt.uids)}`, LEFT);
  for (const { protocols, ports, uids } of exempt.uidPorts) {
    const said = { tcp: 'TCP', udp: 'UDP', both: 'TCP and UDP' }[protocols];
    list.add(`of ${idList('uid', [uids])} to ${portList(ports)}, ${said}`, LEFT);
  }
}

/** What the pod says to itself, and the sidecar's own connections. */
function addLocalRules(list: RuleList, policy: RedirectPolicy): void {
  const { loopback, ports } = policy;
  const sidecar = sidecarName(policy);
  if (loopback.passthroughSource) list.add('from 127.0.0.6 or ::6 to an address of the pod', LEFT);
  if (loopback.sidecarLocalhostToPodIp) {
    list.add(`from ${sidecar} to 127.0.0.1`, "to the pod's own address, same port");
  }
  if (loopback.sidecar === 'inbound') {
    const except = ports.tunnel === null ? '' : `, not to port ${ports.tunnel}`;
    list.add(
      `from ${sidecar} to an address of the pod other than localhost${except}`,
      `to the sidecar, port ${ports.inbound}`,
    );
  }
  if (loopback.application === 'bypass-local' && !includesLoopback(policy)) {
    list.add('from the application to an address of the pod', LEFT);
  }
  list.add(`from ${sidecar}`, LEFT);
}

function addGroups(list: RuleList, { exempt }: RedirectPolicy): void {
  if (exempt.includeGids !== '*') {
    const groups =
      exempt.includeGids.length === 0
        ? 'of any group'
        : `of a gid other than ${exempt.includeGids.join(', ')}`;
    list.add(groups, LEFT);
  }
  list.addList('of gid', exempt.excludeGids, LEFT);
}

function addDns(list: RuleList, { dns }: RedirectPolicy): void {
  if (dns.mode === 'off' || dns.target === null) return;
  const { address, port } = dns.target;
  const where = {
    all: 'to port 53',
    servers: `to port 53 of ${dns.servers.join(', ') || 'no server'}`,
    localhost: 'to port 53 of 127.0.0.1 or ::1',
  }[dns.mode];
  const then = address === null ? `to the DNS proxy, port ${port}` : `to ${address}, port ${port}`;
  list.add(`${where}, ${dns.tcp === 'capture' ? 'TCP and UDP' : 'UDP'}`, then);
  if (dns.tcp === 'bypass') list.add('to port 53', LEFT);
}

function localhost({ loopback }: RedirectPolicy): string {
  return `${loopback.localhost4.replace(/\/32$/, '')} or ::1`;
}

function inboundRules(policy: RedirectPolicy): PolicyRule[] {
  const { inbound, ports, interfaces } = policy;
  const list = new RuleList('inbound', policy);
  const captured = `to the sidecar, port ${ports.inbound}`;
  const asOutbound = `as outbound: to the sidecar, port ${ports.outbound}`;
  list.addList('by the interface', interfaces.reroute, asOutbound);
  for (const { name, cidr } of interfaces.virtual) list.add(`by ${name}, not to ${cidr}`, asOutbound);
  if (!inbound.enabled) {
    list.add('to any port', LEFT);
    return list.rules;
  }
  list.addList('by the interface', interfaces.exclude, LEFT);
  list.addList('from', inbound.excludeSources, LEFT);
  if (ports.tunnel !== null) list.add(`to port ${ports.tunnel}`, LEFT);
  if (inbound.includePorts === '*') {
    if (inbound.excludePorts.length > 0) list.add(`to ${portList(inbound.excludePorts)}`, LEFT);
    list.add('to any other port', captured);
  } else {
    if (inbound.includePorts.length > 0) list.add(`to ${portList(inbound.includePorts)}`, captured);
    list.add('to any other port', LEFT);
  }
  return list.rules;
}

/** An include list that names loopback turns off the rule that lets the application talk to itself. */
function includesLoopback({ outbound }: RedirectPolicy): boolean {
  if (outbound.includeCidrs === '*') return false;
  return outbound.includeCidrs.some((text) => {
    const cidr = parseCidr(text);
    return cidr !== null && isLoopbackCidr(cidr);
  });
}

function sidecarName({ identity }: RedirectPolicy): string {
  const ids = [
    ...identity.proxyUids.map((uid) => `uid ${uid}`),
    ...identity.proxyGids.map((gid) => `gid ${gid}`),
  ];
  return `the sidecar (${ids.join(' or ')})`;
}

function portList(ranges: readonly PortRange[]): string {
  const [only] = ranges;
  const word = ranges.length === 1 && only?.first === only?.last ? 'port' : 'ports';
  return `${word} ${ranges.map(formatPortRange).join(', ')}`;
}

function idList(word: string, ranges: readonly IdRange[]): string {
  return `${word} ${ranges.map(formatPortRange).join(', ')}`;
}
