/**
 * What the suites gave, kept between runs: a kernel's suites take hours together, so that each run fills in some of the
 * table. What an earlier build of a kernel gave is dropped.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import * as v from 'valibot';
import type { Row } from './matrix.ts';

const Kept = v.object({
  kernel: v.string(),
  build: v.string(),
  tier: v.object({ tier: v.picklist([0, 1, 2, 3]), name: v.string(), limit: v.nullable(v.string()) }),
  cells: v.array(
    v.object({
      suite: v.string(),
      outcome: v.picklist(['passed', 'failed', 'not applicable']),
      detail: v.string(),
      /** ISO 8601. */
      on: v.string(),
    }),
  ),
});
export type KeptRow = v.InferOutput<typeof Kept>;

/** @throws ValiError when the file is not one of ours */
export function readResults(file: string): KeptRow[] {
  return existsSync(file) ? v.parse(v.array(Kept), JSON.parse(readFileSync(file, 'utf8'))) : [];
}

/** Puts a run's cells in the place of those that they repeat. @param at when they were run */
export function merged(kept: readonly KeptRow[], row: Row, at: Date): KeptRow[] {
  const on = at.toISOString().slice(0, 10);
  const fresh = row.cells.map(({ suite, outcome, detail }) => ({ suite, outcome, detail, on }));
  const before = kept.find(({ kernel, build }) => kernel === row.kernel && build === row.build)?.cells ?? [];
  const rest = before.filter(({ suite }) => !fresh.some((cell) => cell.suite === suite));
  const { kernel, build, tier } = row;
  return [
    ...kept.filter((each) => each.kernel !== kernel),
    { kernel, build, tier, cells: [...rest, ...fresh] },
  ];
}

export function writeResults(file: string, rows: readonly KeptRow[]): void {
  writeFileSync(file, `${JSON.stringify(rows, undefined, 2)}\n`);
}
