/**
 * Policies in the kernel, shared by content: a thousand pods of one Deployment hold one entry. An entry's presence
 * says that its lists are complete, because it is written after them.
 */
import { createHash } from 'node:crypto';
import { BpfError, type BpfMap } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { cidrPrefixes, isLoopbackCidr, parseCidr } from '../../policy/cidr.ts';
import { canonicalPolicy } from '../../policy/json.ts';
import type { PortRange, RedirectPolicy } from '../../policy/policy.ts';
import { portPrefixes } from '../../policy/port_range.ts';
import type { RuleList } from './gen/connect.ts';
import { type CidrKey, type Policy, PolicyFlags, type PortKey } from './gen/connect.ts';

/** Bits of policy id and list in front of a rule's own in both tries (layout.h, struct port_key and cidr_key). */
const HEADER_BITS = 64;
const LIST_NUMBER: Record<RuleList, number> = {
  RULE_OUT_EXCLUDE: 1,
  RULE_OUT_INCLUDE: 2,
  RULE_IN_EXCLUDE: 3,
  RULE_IN_INCLUDE: 4,
};

export interface PolicyMaps {
  policies: BpfMap<number, Policy>;
  ports: BpfMap<PortKey, number>;
  cidrs: BpfMap<CidrKey, number>;
}

interface Rules {
  ports: [PortKey, number][];
  cidrs: [CidrKey, number][];
}

export class PolicyStore {
  readonly #maps: PolicyMaps;

  constructor(maps: PolicyMaps) {
    this.#maps = maps;
  }

  /**
   * The id under which the policy stands in the kernel, writing it where it is not there yet.
   *
   * @throws SHUNT_E_MAP_FULL, with nothing of the policy left behind
   */
  ensure(policy: RedirectPolicy): number {
    const hash = contentHash(policy);
    const id = this.#slotFor(hash);
    if (this.#maps.policies.has(id)) return id;
    const rules = rulesOf(policy, id);
    try {
      this.#maps.ports.setMany(rules.ports);
      this.#maps.cidrs.setMany(rules.cidrs);
      this.#maps.policies.set(id, scalarsOf(policy, hash));
    } catch (cause) {
      this.#remove(id, rules);
      if (cause instanceof BpfError && ['E2BIG', 'ENOSPC', 'ENOMEM'].includes(cause.code)) {
        throw new ShuntError('SHUNT_E_MAP_FULL', `no room for the policy: ${cause.message}`, { cause });
      }
      throw cause;
    }
    return id;
  }

  /** Id of a policy that is in the kernel with all its rules; null when any of it is missing. */
  find(policy: RedirectPolicy): number | null {
    const hash = contentHash(policy);
    const id = this.#slotFor(hash);
    if (this.#maps.policies.get(id) === undefined) return null;
    const rules = rulesOf(policy, id);
    const whole =
      rules.ports.every(([key]) => this.#maps.ports.has(key)) &&
      rules.cidrs.every(([key]) => this.#maps.cidrs.has(key));
    return whole ? id : null;
  }

  /** Writes the policy's entries again, whatever is there: repairs what something else deleted. */
  rewrite(policy: RedirectPolicy): number {
    const hash = contentHash(policy);
    const id = this.#slotFor(hash);
    const rules = rulesOf(policy, id);
    this.#maps.ports.setMany(rules.ports);
    this.#maps.cidrs.setMany(rules.cidrs);
    this.#maps.policies.set(id, scalarsOf(policy, hash));
    return id;
  }

  /** Removes every policy that is not in use. */
  collect(inUse: ReadonlySet<number>): void {
    const stale = new Set([...this.#maps.policies.keys()].filter((id) => !inUse.has(id)));
    if (stale.size === 0) return;
    // The scalars first: from then on nothing reads the lists.
    this.#maps.policies.deleteMany(stale);
    this.#maps.ports.deleteMany([...this.#maps.ports.keys()].filter((key) => stale.has(key.policy)));
    this.#maps.cidrs.deleteMany([...this.#maps.cidrs.keys()].filter((key) => stale.has(key.policy)));
  }

  /** Ids follow the content; two contents that share 32 bits take neighbouring ids. */
  #slotFor(hash: bigint): number {
    for (let id = Number(hash & 0xffff_ffffn) || 1; ; id = (id + 1) >>> 0 || 1) {
      const held = this.#maps.policies.get(id);
      if (held === undefined || held.content_hash === hash) return id;
    }
  }

  #remove(id: number, rules: Rules): void {
    this.#maps.policies.delete(id);
    this.#maps.ports.deleteMany(rules.ports.map(([key]) => key));
    this.#maps.cidrs.deleteMany(rules.cidrs.map(([key]) => key));
  }
}

function contentHash(policy: RedirectPolicy): bigint {
  return createHash('sha256').update(canonicalPolicy(policy)).digest().readBigUInt64LE();
}

function scalarsOf(policy: RedirectPolicy, hash: bigint): Policy {
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

function rulesOf(policy: RedirectPolicy, id: number): Rules {
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
