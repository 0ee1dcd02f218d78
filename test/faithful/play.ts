/** Plays an item in every pod at once, and compares. */
import type { Bed } from './bed.ts';
import { compare, type FactDifference } from './differences.ts';
import type { Item } from './items/item.ts';
import type { Fact } from './observation.ts';
import { type Contender, Unavailable } from './stage.ts';

export interface Outcome {
  item: Item;
  /** Why this machine cannot play it; then there is nothing else. */
  unavailable: string | null;
  seen: ReadonlyMap<Contender, readonly Fact[]>;
  /** Of eBPF; known ones, too. */
  differences: readonly FactDifference[];
  /** A sentence each; empty when it passed. */
  faults: readonly string[];
}

export async function play(bed: Bed, item: Item): Promise<Outcome> {
  const contenders: readonly Contender[] = ['plain', 'iptables', 'ebpf'];
  const played = await Promise.allSettled(contenders.map((contender) => playIn(bed, contender, item)));
  const failed = played.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  const missing = failed.find((reason) => reason instanceof Unavailable);
  if (missing !== undefined && failed.every((reason) => reason instanceof Unavailable)) {
    return { item, unavailable: missing.message, seen: new Map(), differences: [], faults: [] };
  }
  if (failed.length > 0) {
    const faults = failed.map((reason) => (reason instanceof Error ? reason.message : String(reason)));
    return { item, unavailable: null, seen: new Map(), differences: [], faults };
  }
  const seen = new Map(played.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])));
  const of = (contender: Contender): readonly Fact[] => seen.get(contender) ?? [];
  const differences = compare(item.name, of(item.like), of('ebpf'));
  const faults = differences
    .filter(({ known }) => known === null)
    .map(
      ({ call, field, expected, saw }) => `${call}: ${field} is ${saw}, and ${named(item.like)} ${expected}`,
    );
  if (item.like === 'plain') {
    for (const { call, field, expected, saw } of compare(item.name, of('plain'), of('iptables'))) {
      faults.push(`iptables: ${call}: ${field} is ${saw}, and in the plain pod ${expected}`);
    }
  } else faults.push(...landings(of));
  return { item, unavailable: null, seen, differences, faults };
}

async function playIn(bed: Bed, contender: Contender, item: Item): Promise<[Contender, readonly Fact[]]> {
  await using stage = bed.stage(contender);
  try {
    await item.run(stage);
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    throw new Error(`${contender}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
  return [contender, stage.observation.facts];
}

/** Whether anything was redirected at all, where something should be. */
function landings(of: (contender: Contender) => readonly Fact[]): string[] {
  const toSidecar = (contender: Contender) =>
    of(contender).some(({ value }) => typeof value === 'string' && /^sidecar\w*:/.test(value));
  const shown = (['iptables', 'ebpf'] as const).filter((contender) => !toSidecar(contender));
  return shown.map((contender) => `nothing reached the sidecar under ${contender}`);
}

function named(like: Item['like']): string {
  return like === 'plain' ? 'in the plain pod' : 'under iptables';
}
