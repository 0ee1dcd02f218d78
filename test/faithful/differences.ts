/** Where eBPF is known to differ from what it is compared with, and why that is so. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Fact } from './observation.ts';

/** All but `reason` and `fields` may be left out, and then holds for everything. Regular expressions, of the whole text. */
const difference = v.strictObject({
  reason: v.pipe(v.string(), v.nonEmpty()),
  /** Names of items. */
  items: v.optional(v.array(v.string())),
  /** The call. */
  call: v.optional(v.string()),
  fields: v.array(v.string()),
  /** What it is compared with: under iptables, or plain. */
  expected: v.optional(v.string()),
  saw: v.optional(v.string()),
  /** Who accepted the connection under eBPF, where the call told. */
  landing: v.optional(v.string()),
  /** On which kernels it shows, for people: then it need not occur. */
  where: v.optional(v.string()),
});

export type Difference = v.InferOutput<typeof difference>;

export const KNOWN_DIFFERENCES: readonly Difference[] = v.parse(
  v.array(difference),
  JSON.parse(readFileSync(join(import.meta.dirname, 'differences.json'), 'utf8')),
);

export interface FactDifference {
  call: string;
  field: string;
  /** `none`: the other made a call that this one did not. */
  expected: string;
  saw: string;
  /** Null when it is not known. */
  known: Difference | null;
}

export function compare(item: string, expected: readonly Fact[], saw: readonly Fact[]): FactDifference[] {
  const left = keyed(expected);
  const right = keyed(saw);
  return [...new Set([...left.keys(), ...right.keys()])].flatMap((key) => {
    const [a, b] = [left.get(key), right.get(key)];
    const fact = a ?? b;
    if (fact === undefined || (a !== undefined && b !== undefined && a.value === b.value)) return [];
    const found = { call: fact.call, field: fact.field, expected: text(a), saw: text(b) };
    const landing = text(right.get(keyOf(fact.call, 'banner.landing', Number(key.split(' ').at(-1)))));
    const known = KNOWN_DIFFERENCES.find((entry) => covers(entry, item, { ...found, landing }));
    return [{ ...found, known: known ?? null }];
  });
}

/** Facts by name; the second of a name gets a number. */
function keyed(facts: readonly Fact[]): Map<string, Fact> {
  const seen = new Map<string, number>();
  return new Map(
    facts.map((fact) => {
      const name = keyOf(fact.call, fact.field, 0);
      const times = (seen.get(name) ?? 0) + 1;
      seen.set(name, times);
      return [keyOf(fact.call, fact.field, times), fact];
    }),
  );
}

function keyOf(call: string, field: string, times: number): string {
  return `${call} ${field} ${times}`;
}

function text(fact: Fact | undefined): string {
  return fact === undefined ? 'none' : String(fact.value);
}

function covers(
  entry: Difference,
  item: string,
  found: Omit<FactDifference, 'known'> & { landing: string },
): boolean {
  return (
    (entry.items?.includes(item) ?? true) &&
    matches(entry.call, found.call) &&
    entry.fields.includes(found.field) &&
    matches(entry.expected, found.expected) &&
    matches(entry.saw, found.saw) &&
    matches(entry.landing, found.landing)
  );
}

function matches(pattern: string | undefined, value: string): boolean {
  return pattern === undefined || new RegExp(`^(?:${pattern})$`).test(value);
}

/**
 * Entries that did not occur though they should have.
 *
 * @param ran names of the items that ran
 */
export function unused(found: readonly FactDifference[], ran: ReadonlySet<string>): Difference[] {
  return KNOWN_DIFFERENCES.filter(
    (entry) =>
      entry.where === undefined &&
      (entry.items ?? []).every((item) => ran.has(item)) &&
      !found.some(({ known }) => known === entry),
  );
}
