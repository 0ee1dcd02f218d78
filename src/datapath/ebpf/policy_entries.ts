/** A policy as its entries in the kernel: scalars of one map, rules of three prefix tries. */
import { ShuntError } from '../../errors.ts';
import { parseAddress } from '../../policy/address.ts';
import { cidrPrefixes, parseCidr } from '../../policy/cidr.ts';
import { orderOf, type Step } from '../../policy/order.ts';
import type { PortRange, RedirectPolicy } from '../../policy/policy.ts';
import { portPrefixes } from '../../policy/port_range.ts';
import { setPrefixes } from '../../policy/segments.ts';
import {
  type Addr,
  type CidrKey,
  type IdKey,
  type IdList,
  type Policy,
  PolicyFlags,
  type PortKey,
  type RuleList,
} from './gen/objects.ts';

/** Bits of policy id and list in front of a rule's own in the tries (layout.h, struct port_key, cidr_key, id_key). */
export const HEADER_BITS = 64;
/** Members of a set of user ranges: bits of a value in shunt_ports and shunt_ids. */
export const MAX_UID_PORTS = 64;
/** SHUNT_NO_ID of layout.h. */
const NO_ID = 0xffff_ffff;
/** enum rule_list of layout.h. */
export const LIST_NUMBER: Record<RuleList, number> = {
  RULE_OUT_EXCLUDE: 1,
  RULE_OUT_INCLUDE: 2,
  RULE_IN_EXCLUDE: 3,
  RULE_IN_INCLUDE: 4,
  RULE_OUT_EXCLUDE_UDP: 5,
  RULE_UID_PORTS_TCP: 6,
  RULE_UID_PORTS_UDP: 7,
  RULE_DNS_SERVER: 8,
};
/** enum id_list of layout.h. */
export const ID_LIST_NUMBER: Record<IdList, number> = {
  ID_EXEMPT_UID: 1,
  ID_UID_PORTS: 2,
  ID_INCLUDE_GID: 3,
  ID_EXCLUDE_GID: 4,
};

export interface Rules {
  ports: [PortKey, bigint][];
  cidrs: [CidrKey, number][];
  ids: [IdKey, bigint][];
}

/** @param hash of the policy with its lists */
export function scalarsOf(policy: RedirectPolicy, hash: bigint): Policy {
  const { identity, ports, loopback, dns } = policy;
  const localhost = cidrOf(loopback.localhost4);
  const mask = localhost.bits === 0 ? 0 : (0xffff_ffff << (32 - localhost.bits)) >>> 0;
  return {
    content_hash: hash,
    flags: flagsOf(policy),
    proxy_uids: padIds(identity.proxyUids),
    proxy_gids: padIds(identity.proxyGids),
    proxy_uid_count: identity.proxyUids.length,
    proxy_gid_count: identity.proxyGids.length,
    tunnel_port: ports.tunnel ?? 0,
    localhost4: (new DataView(localhost.bytes.slice(-4).buffer).getUint32(0) & mask) >>> 0,
    localhost4_mask: mask,
    dns4: addressOf(dnsAddress(policy, 4) ?? '127.0.0.1'),
    dns6: addressOf(dnsAddress(policy, 6) ?? '::1'),
    dns_port: dns.target?.port ?? 0,
    pad: 0,
    pad2: 0,
  };
}

function flagsOf(policy: RedirectPolicy): number {
  const { families, loopback, outbound, inbound, exempt } = policy;
  const order = orderOf(policy.mesh);
  const before = (a: Step, b: Step): boolean => order.indexOf(a) < order.indexOf(b);
  const set: [boolean, number][] = [
    [outbound.enabled && outbound.includeCidrs === '*', PolicyFlags.POLICY_OUT_ALL],
    [inbound.enabled && inbound.includePorts === '*', PolicyFlags.POLICY_IN_ALL],
    [loopback.application !== 'bypass-local', PolicyFlags.POLICY_LOOPBACK_INCLUDED],
    [loopback.passthroughSource, PolicyFlags.POLICY_PASSTHROUGH_SOURCE],
    [outbound.enabled && loopback.sidecar === 'inbound', PolicyFlags.POLICY_SELF_CALL_INBOUND],
    [!families.ip4, PolicyFlags.POLICY_SKIP_IP4],
    [!families.ip6, PolicyFlags.POLICY_SKIP_IP6],
    [outbound.enabled && loopback.sidecarLocalhostToPodIp, PolicyFlags.POLICY_SIDECAR_TO_POD_IP],
    [exempt.uids.length > 0, PolicyFlags.POLICY_EXEMPT_UIDS],
    [exempt.uidPorts.length > 0, PolicyFlags.POLICY_EXEMPT_UID_PORTS],
    [exempt.includeGids !== '*', PolicyFlags.POLICY_INCLUDED_GIDS],
    [exempt.excludeGids.length > 0, PolicyFlags.POLICY_EXCLUDED_GIDS],
    [inbound.enabled && inbound.excludeSources.length > 0, PolicyFlags.POLICY_EXCLUDED_SOURCES],
    [before('identity', 'ports'), PolicyFlags.POLICY_PORTS_LATE],
    [before('blocks', 'identity'), PolicyFlags.POLICY_CIDRS_EARLY],
    ...dnsFlags(policy, before),
  ];
  return set.reduce((flags, [on, flag]) => (on ? flags | flag : flags), 0);
}

function dnsFlags(policy: RedirectPolicy, before: (a: Step, b: Step) => boolean): [boolean, number][] {
  const { dns } = policy;
  if (dns.mode === 'off' || dns.target === null) return [];
  const { address } = dns.target;
  return [
    [address === null || !address.includes(':'), PolicyFlags.POLICY_DNS_IP4],
    [address === null || address.includes(':'), PolicyFlags.POLICY_DNS_IP6],
    [dns.mode === 'servers', PolicyFlags.POLICY_DNS_SERVERS],
    [dns.mode === 'localhost', PolicyFlags.POLICY_DNS_LOCALHOST],
    [dns.tcp === 'capture', PolicyFlags.POLICY_DNS_TCP],
    [dns.tcp === 'bypass', PolicyFlags.POLICY_DNS_TCP_PASS],
    [before('dns', 'users'), PolicyFlags.POLICY_DNS_FIRST],
    [before('dns', 'identity') && !before('dns', 'users'), PolicyFlags.POLICY_DNS_EARLY],
  ];
}

function dnsAddress({ dns }: RedirectPolicy, family: 4 | 6): string | null {
  const address = dns.target?.address ?? null;
  return address !== null && address.includes(':') === (family === 6) ? address : null;
}

function padIds(ids: number[]): number[] {
  return [...ids, NO_ID, NO_ID, NO_ID, NO_ID].slice(0, 4);
}

/** @param id of the policy, part of every key */
export function rulesOf(policy: RedirectPolicy, id: number): Rules {
  const { outbound, inbound, exempt, dns } = policy;
  const ports = (list: RuleList, ranges: PortRange[] | '*'): Rules['ports'] =>
    (ranges === '*' ? [] : ranges)
      .flatMap(portPrefixes)
      .map(({ port, bits }) => [{ prefixlen: HEADER_BITS + bits, policy: id, list, port, pad: 0 }, 1n]);
  const cidrs = (list: RuleList, texts: string[] | '*'): Rules['cidrs'] =>
    (texts === '*' ? [] : texts)
      .map(cidrOf)
      .flatMap(cidrPrefixes)
      .map(({ bytes, bits }) => [
        { prefixlen: HEADER_BITS + bits, policy: id, list, addr: { bytes } },
        LIST_NUMBER[list],
      ]);
  const ids = (list: IdList, ranges: readonly { first: number; last: number }[]): Rules['ids'] =>
    setPrefixes(ranges, 32).map(({ value, bits, set }) => [
      { prefixlen: HEADER_BITS + bits, policy: id, list, id: value },
      set,
    ]);
  const gids = (list: IdList, each: readonly number[]): Rules['ids'] =>
    ids(
      list,
      each.map((gid) => ({ first: gid, last: gid })),
    );
  const excluded = outbound.excludePortProtocols;
  const rules: Rules = {
    ports: [
      ...ports('RULE_OUT_EXCLUDE_UDP', excluded === 'tcp' ? [] : outbound.excludePorts),
      ...ports('RULE_OUT_EXCLUDE', excluded === 'udp' ? [] : outbound.excludePorts),
      ...uidPorts(policy, id),
    ],
    cidrs: [
      ...cidrs('RULE_OUT_EXCLUDE', outbound.excludeCidrs),
      ...cidrs(
        'RULE_DNS_SERVER',
        dns.servers.map((server) => `${server}/${server.includes(':') ? 128 : 32}`),
      ),
    ],
    ids: [
      ...ids('ID_EXEMPT_UID', exempt.uids),
      ...ids(
        'ID_UID_PORTS',
        exempt.uidPorts.map(({ uids }) => uids),
      ),
      ...gids('ID_INCLUDE_GID', exempt.includeGids === '*' ? [] : exempt.includeGids),
      ...gids('ID_EXCLUDE_GID', exempt.excludeGids),
    ],
  };
  // A direction that is off captures nothing; what is excluded still keeps queries out.
  if (outbound.enabled) {
    rules.ports.push(...ports('RULE_OUT_INCLUDE', outbound.includePorts));
    rules.cidrs.push(...cidrs('RULE_OUT_INCLUDE', outbound.includeCidrs));
  }
  if (inbound.enabled) {
    rules.ports.push(
      ...ports('RULE_IN_EXCLUDE', inbound.excludePorts),
      ...ports('RULE_IN_INCLUDE', inbound.includePorts),
    );
    rules.cidrs.push(...cidrs('RULE_IN_EXCLUDE', inbound.excludeSources));
  }
  return rules;
}

/** Ports by the set of entries that name them; the users' half stands in ID_UID_PORTS. */
function uidPorts({ exempt }: RedirectPolicy, id: number): Rules['ports'] {
  const of = (list: RuleList, protocol: 'tcp' | 'udp'): Rules['ports'] => {
    const ranges = exempt.uidPorts.flatMap(({ protocols, ports }, member) =>
      protocols === protocol || protocols === 'both' ? ports.map((range) => ({ ...range, member })) : [],
    );
    return setPrefixes(ranges, 16).map(({ value, bits, set }) => {
      const members = ranges.reduce(
        (all, { member }, at) => (set & (1n << BigInt(at)) ? all | (1n << BigInt(member)) : all),
        0n,
      );
      return [{ prefixlen: HEADER_BITS + bits, policy: id, list, port: value, pad: 0 }, members];
    });
  };
  return [...of('RULE_UID_PORTS_TCP', 'tcp'), ...of('RULE_UID_PORTS_UDP', 'udp')];
}

function cidrOf(text: string): NonNullable<ReturnType<typeof parseCidr>> {
  const cidr = parseCidr(text);
  if (cidr === null) throw new ShuntError('SHUNT_E_POLICY', 'not a CIDR', { target: text });
  return cidr;
}

function addressOf(text: string): Addr {
  const bytes = parseAddress(text);
  if (bytes === null) throw new ShuntError('SHUNT_E_POLICY', 'not an address', { target: text });
  return { bytes };
}
