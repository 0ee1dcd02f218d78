/**
 * Policies in the kernel, shared by content: a thousand pods of one Deployment hold one entry. An entry's presence
 * says that its lists are complete, because it is written after them.
 */
import { createHash } from 'node:crypto';
import { BpfError, type BpfMap } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { canonicalPolicy } from '../../policy/json.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import type { CidrKey, IdKey, Policy, PortKey } from './gen/objects.ts';
import { type Rules, rulesOf, scalarsOf } from './policy_entries.ts';

export interface PolicyMaps {
  policies: BpfMap<number, Policy>;
  ports: BpfMap<PortKey, bigint>;
  cidrs: BpfMap<CidrKey, number>;
  ids: BpfMap<IdKey, bigint>;
}

/** A look at all pods finds the policies of most of them in the kernel already looked at: rule by rule once is enough. */
const WHOLE_MS = 1_000;

export class PolicyStore {
  readonly #maps: PolicyMaps;
  /** Until when policies that were seen whole are taken to be so, by id; on the monotonic clock. */
  readonly #wholeUntilMs = new Map<number, number>();

  constructor(maps: PolicyMaps) {
    this.#maps = maps;
  }

  /**
   * The id under which the policy stands in the kernel, writing whatever of it is not there.
   *
   * @throws SHUNT_E_MAP_FULL, with nothing of a new policy left behind
   */
  ensure(policy: RedirectPolicy): number {
    const hash = contentHash(policy);
    const id = this.#slotFor(hash);
    const inUse = this.#maps.policies.has(id);
    if (inUse && this.#isWhole(policy, id)) return id;
    const rules = rulesOf(policy, id);
    try {
      this.#maps.ports.setMany(rules.ports);
      this.#maps.cidrs.setMany(rules.cidrs);
      this.#maps.ids.setMany(rules.ids);
      this.#maps.policies.set(id, scalarsOf(policy, hash));
    } catch (cause) {
      // Pods may live by what is there of a policy that was to be repaired.
      if (!inUse) this.#remove(id, rules);
      if (cause instanceof BpfError && ['E2BIG', 'ENOSPC', 'ENOMEM'].includes(cause.code)) {
        throw new ShuntError('SHUNT_E_MAP_FULL', `no room for the policy: ${cause.message}`, { cause });
      }
      throw cause;
    }
    return id;
  }

  /** Id of a policy that is in the kernel with all its rules; null when any of it is missing. */
  find(policy: RedirectPolicy): number | null {
    const id = this.#slotFor(contentHash(policy));
    return this.#maps.policies.has(id) && this.#isWhole(policy, id) ? id : null;
  }

  /** Has every policy looked at again. */
  forget(): void {
    this.#wholeUntilMs.clear();
  }

  /** Whether all rules of a policy are there that stands in the kernel. */
  #isWhole(policy: RedirectPolicy, id: number): boolean {
    const nowMs = performance.now();
    if ((this.#wholeUntilMs.get(id) ?? 0) > nowMs) return true;
    const { ports, cidrs, ids } = rulesOf(policy, id);
    const isWhole =
      ports.every(([key]) => this.#maps.ports.has(key)) &&
      cidrs.every(([key]) => this.#maps.cidrs.has(key)) &&
      ids.every(([key]) => this.#maps.ids.has(key));
    if (isWhole) this.#wholeUntilMs.set(id, nowMs + WHOLE_MS);
    return isWhole;
  }

  /** Removes every policy that is not in use. */
  collect(inUse: ReadonlySet<number>): void {
    const stale = new Set([...this.#maps.policies.keys()].filter((id) => !inUse.has(id)));
    if (stale.size === 0) return;
    for (const id of stale) this.#wholeUntilMs.delete(id);
    // The scalars first: from then on nothing reads the lists.
    this.#maps.policies.deleteMany(stale);
    this.#maps.ports.deleteMany([...this.#maps.ports.keys()].filter((key) => stale.has(key.policy)));
    this.#maps.cidrs.deleteMany([...this.#maps.cidrs.keys()].filter((key) => stale.has(key.policy)));
    this.#maps.ids.deleteMany([...this.#maps.ids.keys()].filter((key) => stale.has(key.policy)));
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
    this.#maps.ids.deleteMany(rules.ids.map(([key]) => key));
  }
}

function contentHash(policy: RedirectPolicy): bigint {
  return createHash('sha256').update(canonicalPolicy(policy)).digest().readBigUInt64LE();
}
