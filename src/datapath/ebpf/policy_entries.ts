/** A policy as its entries in the kernel: scalars of one map, rules of two prefix tries. */
import { ShuntError } from '../../errors.ts';
import { cidrPrefixes, isLoopbackCidr, parseCidr } from '../../policy/cidr.ts';
import type { PortRange, RedirectPolicy } from '../../policy/policy.ts';
import { portPrefixes } from '../../policy/port_range.ts';
import type { RuleList } from './gen/objects.ts';
import { type CidrKey, type Policy, PolicyFlags, type PortKey } from './gen/objects.ts';

/** Bits of policy id and list in front of a rule's own in both tries (layout.h, struct port_key and cidr_key). */
export const HEADER_BITS = 64;
/** enum rule_list of layout.h. */
export const LIST_NUMBER: Record<RuleList, number> = {
  RULE_OUT_EXCLUDE: 1,
  RULE_OUT_INCLUDE: 2,
  RULE_IN_EXCLUDE: 3,
  RULE_IN_INCLUDE: 4,
};

export interface Rules {
  ports: [PortKey, number][];
  cidrs: [CidrKey, number][];
}

/** @param hash of the policy with its lists */
export function scalarsOf(policy: RedirectPolicy, hash: bigint): Policy {
  const { identity, loopback, outbound, inbound, ports } = policy;
  const included = outbound.includeCidrs === '*' ? [] : outbound.includeCidrs;
  const localCaptured =
    loopback.application !== 'bypass-local' || included.some((text) => isLoopbackCidr(cidrOf(text)));
  let flags = 0;
  if (outbound.enabled && outbound.includeCidrs === '*') flags |= PolicyFlags.POLICY_OUT_ALL;
  if (inbound.enabled && inbound.includePorts === '*') flags |= PolicyFlags.POLICY_IN_ALL;
  if (localCaptured) flags |= PolicyFlags.POLICY_LOOPBACK_INCLUDED;
  if (loopback.passthroughSource) flags |= PolicyFlags.POLICY_PASSTHROUGH_SOURCE;
  if (outbound.enabled && loopback.sidecar === 'inbound') flags |= PolicyFlags.POLICY_SELF_CALL_INBOUND;
  return {
    content_hash: hash,
    flags,
    proxy_uids: padIds(identity.proxyUids),
    proxy_gids: padIds(identity.proxyGids),
    proxy_uid_count: identity.proxyUids.length,
    proxy_gid_count: identity.proxyGids.length,
    tunnel_port: ports.tunnel ?? 0,
  };
}

function padIds(ids: number[]): number[] {
  return [...ids, 0, 0, 0, 0].slice(0, 4);
}

/** @param id of the policy, part of every key */
export function rulesOf(policy: RedirectPolicy, id: number): Rules {
  const { outbound, inbound } = policy;
  const ports = (list: RuleList, ranges: PortRange[] | '*'): [PortKey, number][] =>
    (ranges === '*' ? [] : ranges)
      .flatMap(portPrefixes)
      .map(({ port, bits }) => [
        { prefixlen: HEADER_BITS + bits, policy: id, list, port, pad: 0 },
        LIST_NUMBER[list],
      ]);
  const cidrs = (list: RuleList, texts: string[] | '*'): [CidrKey, number][] =>
    (texts === '*' ? [] : texts)
      .map(cidrOf)
      .flatMap(cidrPrefixes)
      .map(({ bytes, bits }) => [
        { prefixlen: HEADER_BITS + bits, policy: id, list, addr: { bytes } },
        LIST_NUMBER[list],
      ]);
  const bothWays: Rules = { ports: [], cidrs: [] };
  // A direction that is off has no rules: nothing is listed, so nothing is captured.
  if (outbound.enabled) {
    bothWays.ports.push(
      ...ports('RULE_OUT_EXCLUDE', outbound.excludePortProtocols === 'udp' ? [] : outbound.excludePorts),
      ...ports('RULE_OUT_INCLUDE', outbound.includePorts),
    );
    bothWays.cidrs.push(
      ...cidrs('RULE_OUT_EXCLUDE', outbound.excludeCidrs),
      ...cidrs('RULE_OUT_INCLUDE', outbound.includeCidrs),
    );
  }
  if (inbound.enabled) {
    bothWays.ports.push(
      ...ports('RULE_IN_EXCLUDE', inbound.excludePorts),
      ...ports('RULE_IN_INCLUDE', inbound.includePorts),
    );
  }
  return bothWays;
}

function cidrOf(text: string): NonNullable<ReturnType<typeof parseCidr>> {
  const cidr = parseCidr(text);
  if (cidr === null) throw new ShuntError('SHUNT_E_POLICY', 'not a CIDR', { target: text });
  return cidr;
}
