/** Where a backend is known to differ from the mesh's own rules, and why that is so. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Backend } from './bed.ts';
import type { Case } from './cases.ts';
import type { Mesh } from './meshes.ts';
import type { Seen } from './probe.ts';

/** A field that is left out holds for every value. `oracle` and `backendSaw` are regular expressions. */
const difference = v.strictObject({
  reason: v.pipe(v.string(), v.nonEmpty()),
  backend: v.picklist(['iptables', 'ebpf']),
  meshes: v.optional(v.array(v.string())),
  who: v.optional(v.array(v.string())),
  source: v.optional(v.picklist(['default', 'passthrough'])),
  to: v.optional(v.array(v.string())),
  families: v.optional(v.array(v.picklist([4, 6]))),
  fields: v.array(v.picklist(['landing', 'local', 'peer', 'original', 'acceptedOn', 'acceptedFrom'])),
  oracle: v.optional(v.string()),
  backendSaw: v.optional(v.string()),
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

/** Fields in which a backend's connection differs from the oracle's. */
export function compare(
  { name }: Mesh,
  backend: Backend,
  { who, source, to, family }: Case,
  oracle: Seen,
  saw: Seen,
): FieldDifference[] {
  const fields = Object.keys(oracle) as (keyof Seen)[];
  return fields
    .filter((field) => oracle[field] !== saw[field])
    .map((field) => {
      const known = KNOWN_DIFFERENCES.find(
        (entry) =>
          entry.backend === backend &&
          entry.fields.includes(field) &&
          (entry.meshes?.includes(name) ?? true) &&
          (entry.who?.includes(who) ?? true) &&
          (entry.source === undefined || entry.source === source) &&
          (entry.to?.includes(to) ?? true) &&
          (entry.families?.includes(family) ?? true) &&
          matches(entry.oracle, oracle[field]) &&
          matches(entry.backendSaw, saw[field]),
      );
      return { field, oracle: oracle[field], backendSaw: saw[field], known: known ?? null };
    });
}

function matches(pattern: string | undefined, value: string | null): boolean {
  return pattern === undefined || new RegExp(`^(?:${pattern})$`).test(value ?? '-');
}
