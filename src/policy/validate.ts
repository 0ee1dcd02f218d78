import { ShuntError } from '../errors.ts';
import { canonicalAddress } from './address.ts';
import { canonicalCidr, parseCidr } from './cidr.ts';
import type { IdRange, PortRange, RedirectPolicy } from './policy.ts';
import { formatPortRange, isPort, isPortRange } from './port_range.ts';

/** As many uids, and as many gids, as a policy in the kernel holds (SHUNT_MAX_PROXY_IDS of bpf/layout.h). */
export const MAX_PROXY_IDS = 4;
/** Uids are 32 bits, and the last one means "none" to the kernel. */
const MAX_ID = 0xffff_fffe;

/** What is wrong with a policy, one sentence for each value; empty when it can be enforced. */
export function policyProblems(policy: RedirectPolicy): string[] {
  const { identity, exempt, ports, outbound, inbound, interfaces } = policy;
  return [
    ...(policy.families.ip4 || policy.families.ip6 ? [] : ['families: neither IPv4 nor IPv6']),
    ...identityProblems(identity),
    ...idRanges('exempt.uids', exempt.uids),
    ...(exempt.includeGids === '*' ? [] : eachId('exempt.includeGids', exempt.includeGids)),
    ...eachId('exempt.excludeGids', exempt.excludeGids),
    ...exempt.uidPorts.flatMap((rule) => [
      ...portRanges('exempt.uidPorts', rule.ports),
      ...idRanges('exempt.uidPorts', [rule.uids]),
    ]),
    ...sidecarPort('ports.outbound', ports.outbound),
    ...sidecarPort('ports.inbound', ports.inbound),
    ...(ports.tunnel === null ? [] : sidecarPort('ports.tunnel', ports.tunnel)),
    ...localhostProblems(policy.loopback.localhost4),
    ...portRanges('outbound.excludePorts', outbound.excludePorts),
    ...portRanges('outbound.includePorts', outbound.includePorts),
    ...cidrs('outbound.excludeCidrs', outbound.excludeCidrs),
    ...(outbound.includeCidrs === '*' ? [] : cidrs('outbound.includeCidrs', outbound.includeCidrs)),
    ...(inbound.includePorts === '*' ? [] : portRanges('inbound.includePorts', inbound.includePorts)),
    ...portRanges('inbound.excludePorts', inbound.excludePorts),
    ...cidrs('inbound.excludeSources', inbound.excludeSources),
    ...interfaceNames('interfaces.exclude', interfaces.exclude),
    ...interfaceNames('interfaces.reroute', interfaces.reroute),
    ...interfaceNames(
      'interfaces.virtual',
      interfaces.virtual.map(({ name }) => name),
    ),
    ...cidrs(
      'interfaces.virtual',
      interfaces.virtual.map(({ cidr }) => cidr),
    ),
    ...dnsProblems(policy.dns),
  ];
}

/**
 * @param target names the policy's owner in the error: a pod, a file
 * @throws SHUNT_E_POLICY with every problem
 */
export function checkPolicy(policy: RedirectPolicy, target?: string): void {
  const problems = policyProblems(policy);
  if (problems.length === 0) return;
  throw new ShuntError('SHUNT_E_POLICY', problems.join('; '), target === undefined ? {} : { target });
}

function identityProblems(identity: RedirectPolicy['identity']): string[] {
  const problems = [
    ...ids('identity.proxyUids', identity.proxyUids),
    ...ids('identity.proxyGids', identity.proxyGids),
  ];
  if (identity.proxyUids.length + identity.proxyGids.length === 0) {
    // Without one, the sidecar's own connections would be sent back to it.
    problems.push('identity names neither a uid nor a gid of the sidecar');
  }
  return problems;
}

function ids(field: string, values: readonly number[]): string[] {
  const problems = eachId(field, values);
  if (values.length > MAX_PROXY_IDS) {
    problems.push(`${field}: ${values.length} ids, at most ${MAX_PROXY_IDS} are supported`);
  }
  return problems;
}

function eachId(field: string, values: readonly number[]): string[] {
  return values
    .filter((value) => !isId(value))
    .map((value) => `${field}: ${value} is not an id from 0 to ${MAX_ID}`);
}

function isId(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= MAX_ID;
}

function idRanges(field: string, ranges: readonly IdRange[]): string[] {
  return ranges
    .filter(({ first, last }) => !isId(first) || !isId(last) || first > last)
    .map((range) => `${field}: ${formatPortRange(range)} is not an id or a range of ids`);
}

function localhostProblems(text: string): string[] {
  const field = 'loopback.localhost4';
  const cidr = parseCidr(text);
  if (cidr === null || cidr.family !== 4 || cidr.bytes[12] !== 127 || cidr.bits < 8) {
    return [`${field}: ${JSON.stringify(text)} is not a CIDR inside 127.0.0.0/8`];
  }
  return cidrs(field, [text]);
}

/**
 * A name that may stand in a rule: IFNAMSIZ less its NUL is 15 characters, and `+` at the end is iptables' "any that
 * begins so". Stricter than the kernel, which takes everything but blanks, `/` and `:`, because a rule is text.
 */
export function isInterfaceName(name: string): boolean {
  return name.length <= 15 && /^[A-Za-z0-9_][A-Za-z0-9_.@-]*\+?$/.test(name);
}

function interfaceNames(field: string, names: readonly string[]): string[] {
  return names
    .filter((name) => !isInterfaceName(name))
    .map((name) => `${field}: ${JSON.stringify(name)} is not the name of a network interface`);
}

function dnsProblems({ mode, servers, target }: RedirectPolicy['dns']): string[] {
  const problems = servers
    .filter((text) => canonicalAddress(text) !== text)
    .map((text) => `dns.servers: ${JSON.stringify(text)} is not an address in its short form`);
  if (target === null)
    return mode === 'off' ? problems : [...problems, 'dns: queries are captured, but go nowhere'];
  if (target.address !== null && canonicalAddress(target.address) !== target.address) {
    problems.push(`dns.target: ${JSON.stringify(target.address)} is not an address in its short form`);
  }
  return [...problems, ...sidecarPort('dns.target', target.port)];
}

function sidecarPort(field: string, port: number): string[] {
  return isPort(port) && port !== 0 ? [] : [`${field}: ${port} is not a port from 1 to 65535`];
}

function portRanges(field: string, ranges: readonly PortRange[]): string[] {
  return ranges
    .filter((range) => !isPortRange(range))
    .map((range) => `${field}: ${formatPortRange(range)} is not a port or a range from 0 to 65535`);
}

function cidrs(field: string, texts: readonly string[]): string[] {
  return texts.flatMap((text) => {
    const canonical = canonicalCidr(text);
    if (canonical === null) return [`${field}: ${JSON.stringify(text)} is not a CIDR`];
    return canonical === text ? [] : [`${field}: ${text} is to be written ${canonical}`];
  });
}
