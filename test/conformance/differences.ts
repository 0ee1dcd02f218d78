/** Where a backend is known to differ from the mesh's own rules, and why that is so. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { BACKENDS, type Backend } from './bed.ts';
import type { Case } from './cases.ts';
import type { Mesh } from './meshes.ts';
import type { Seen } from './probe.ts';

/**
 * A field that is left out holds for every value. `landing` (of the oracle's connection), `oracle` and `backendSaw` are
 * regular expressions. With `seenAs` the backend has to do what the oracle does for that other user.
 */
const difference = v.strictObject({
  reason: v.pipe(v.string(), v.nonEmpty()),
  backends: v.array(v.picklist(BACKENDS)),
  meshes: v.optional(v.array(v.string())),
  who: v.optional(v.array(v.string())),
  source: v.optional(v.picklist(['default', 'passthrough'])),
  to: v.optional(v.array(v.string())),
  families: v.optional(v.array(v.picklist([4, 6]))),
  fields: v.array(v.picklist(['landing', 'local', 'peer', 'original', 'acceptedOn', 'acceptedFrom'])),
  landing: v.optional(v.string()),
  oracle: v.optional(v.string()),
  backendSaw: v.optional(v.string()),
  seenAs: v.optional(v.literal('app')),
});

export type Difference = v.InferOutput<typeof difference>;

export const KNOWN_DIFFERENCES: readonly Difference[] = v.parse(
  v.array(difference),
  JSON.parse(readFileSync(join(import.meta.dirname, 'differences.json'), 'utf8')),
);

export interface FieldDifference {
  field: keyof Seen;
  oracle: string | null;
  backendSaw: string | null;
  /** Null when it is not known. */
  known: Difference | null;
}

/**
 * Fields in which a backend's connection differs from the oracle's.
 *
 * @param asApp what the oracle does for the application in the same place; null where there is no such case
 */
export function compare(
  mesh: Mesh,
  backend: Backend,
  tried: Case,
  { oracle, asApp, saw }: { oracle: Seen; asApp: Seen | null; saw: Seen },
): FieldDifference[] {
  const entries = KNOWN_DIFFERENCES.filter(
    (entry) =>
      entry.backends.includes(backend) &&
      (entry.meshes?.includes(mesh.name) ?? true) &&
      (entry.who?.includes(tried.who) ?? true) &&
      (entry.source === undefined || entry.source === tried.source) &&
      (entry.to?.includes(tried.to) ?? true) &&
      (entry.families?.includes(tried.family) ?? true),
  );
  const plain = entries.filter(({ seenAs }) => seenAs === undefined);
  const found = against(oracle, saw, plain);
  const other = entries.find(({ seenAs }) => seenAs !== undefined);
  if (other === undefined || asApp === null || found.every(({ known }) => known !== null)) return found;
  const excused = against(asApp, saw, plain);
  if (excused.some(({ known }) => known === null)) return found;
  return found.map((difference) => ({ ...difference, known: difference.known ?? other }));
}

function against(oracle: Seen, saw: Seen, entries: readonly Difference[]): FieldDifference[] {
  const fields = Object.keys(oracle) as (keyof Seen)[];
  return fields
    .filter((field) => oracle[field] !== saw[field])
    .map((field) => {
      const known = entries.find(
        (entry) =>
          entry.fields.includes(field) &&
          matches(entry.landing, oracle.landing) &&
          matches(entry.oracle, oracle[field]) &&
          matches(entry.backendSaw, saw[field]),
      );
      return { field, oracle: oracle[field], backendSaw: saw[field], known: known ?? null };
    });
}

function matches(pattern: string | undefined, value: string | null): boolean {
  return pattern === undefined || new RegExp(`^(?:${pattern})$`).test(value ?? '-');
}
