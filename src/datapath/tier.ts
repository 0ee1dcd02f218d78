/**
 * How far a node carries the data plane. Which one it is comes out by loading and trying, never by the kernel's version:
 * distributions put newer eBPF into older kernels, and leave parts out of newer ones.
 */
export type Tier = 0 | 1 | 2 | 3;

export interface TierKind {
  tier: Tier;
  /** For people: what does what. */
  name: string;
}

export const TIERS: readonly [TierKind, TierKind, TierKind, TierKind] = [
  { tier: 0, name: 'iptables alone' },
  { tier: 1, name: 'outbound by eBPF, inbound by iptables' },
  { tier: 2, name: 'outbound and inbound by eBPF' },
  { tier: 3, name: 'outbound and inbound by eBPF, with acceleration' },
];

export const HIGHEST = 3;

/** The tier that a node runs at. */
export interface TierState extends TierKind {
  /** Why it is not a higher one; null for the highest. */
  limit: string | null;
}

export function tierState(tier: Tier, limit: string | null): TierState {
  return { ...TIERS[tier], limit };
}

/** Why a node stays below what it could, in the words of the option. */
export function limitedBy(maxTier: Tier): string {
  return `asked for with --max-tier ${maxTier}`;
}
