import * as v from 'valibot';
import type { Context } from '../context.ts';
import { EXIT } from '../failure.ts';
import type { Column, Tone } from '../output/table.ts';
import { writeList } from '../output/writer.ts';
import { canaryFindings } from './canary.ts';
import { judge } from './checks.ts';
import { gatherFacts } from './facts.ts';
import type { Finding } from './finding.ts';

const TONES = { ok: 'good', warn: 'warn', fail: 'bad' } as const satisfies Record<Finding['level'], Tone>;

export const COLUMNS: readonly Column<Finding>[] = [
  { head: 'CHECK', cell: (finding) => finding.check },
  { head: 'RESULT', cell: (finding) => finding.level, tone: (finding) => TONES[finding.level] },
  { head: 'DETAIL', cell: (finding) => finding.detail },
];

const Options = v.object({ canary: v.optional(v.boolean(), false) });

/** Runs every check, and the canary of acceleration where asked to; exit 1 when one of them fails. */
export async function doctor(context: Context, given: unknown): Promise<number> {
  const findings = judge(await gatherFacts(context));
  if (v.parse(Options, given).canary) findings.push(...(await canaryFindings()));
  const view = { kind: 'check', columns: COLUMNS, name: (finding: Finding) => finding.check };
  await writeList(context.io, context.format, view, findings);
  if (context.format === 'table' || context.format === 'wide') {
    // Fixes stand below the table: they are sentences, and beside it no terminal would be wide enough.
    for (const { check, level, fix } of findings) {
      if (fix !== null) context.io.out(`\n${level}: ${check}\n  fix: ${fix}\n`);
    }
    const count = (level: Finding['level']) => findings.filter((finding) => finding.level === level).length;
    context.io.note(`${count('ok')} ok, ${count('warn')} warn, ${count('fail')} fail`);
  }
  return findings.some((finding) => finding.level === 'fail') ? EXIT.failed : EXIT.ok;
}
