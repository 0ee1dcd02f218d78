/**
 * How far a node carries the data plane. Which one it is comes out by loading and trying, never by the kernel's version:
 * distributions put newer eBPF into older kernels, and leave parts out of newer ones. A kernel that calls itself older than
 * any that carries it is not tried unless eBPF is asked for: `oldKernel`.
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

/** The first whose cgroups take a bpf_link. */
const OLDEST_KERNEL = '5.7';

/**
 * Why a kernel is left to iptables by its own word, in words for people; null for one that is to be tried.
 *
 * @param release as `uname -r` says it
 */
export function oldKernel(release: string): string | null {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_KERNEL.split('.').map(Number);
  // One that does not say its version as Linux does is tried.
  if (Number.isNaN(major) || Number.isNaN(minor)) return null;
  const old = major < oldestMajor || (major === oldestMajor && minor < oldestMinor);
  return old ? `Linux ${release} is older than ${OLDEST_KERNEL}; --backend ebpf tries it all the same` : null;
}

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
