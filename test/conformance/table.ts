/** The matrix for people: one line a case, or Markdown with the counts and every difference. */
import type { Backend } from './bed.ts';
import { type Difference, KNOWN_DIFFERENCES } from './differences.ts';
import type { Matrix, Outcome, Row } from './matrix.ts';

export interface Count {
  mesh: string;
  backend: Backend;
  same: number;
  known: number;
  failed: number;
  /** Why it did not run; null when it did. */
  absent: string | null;
}

export function countsOf(matrices: readonly Matrix[], backends: readonly Backend[]): Count[] {
  return matrices.flatMap(({ mesh, rows, absent }) =>
    backends.map((backend) => {
      const verdicts = rows.flatMap(({ outcomes }) =>
        outcomes.filter((outcome) => outcome.backend === backend).map(({ verdict }) => verdict),
      );
      const count = (wanted: Outcome['verdict']) => verdicts.filter((verdict) => verdict === wanted).length;
      return {
        mesh: mesh.name,
        backend,
        same: count('same'),
        known: count('known'),
        failed: count('FAILED'),
        absent: absent.get(backend) ?? null,
      };
    }),
  );
}

/** One line a case; below it a line for each difference. */
export function textTable(matrices: readonly Matrix[]): string {
  return matrices.flatMap(({ rows }) => rows.flatMap(textRow)).join('\n');
}

function textRow({ mesh, case: tried, oracle, outcomes }: Row): string[] {
  const name = [
    mesh.name.padEnd(8),
    `IPv${tried.family}`,
    tried.who.padEnd(10),
    (tried.source === 'default' ? '' : tried.source).padEnd(12),
    tried.to.padEnd(27),
    oracle.landing.padEnd(14),
  ].join(' ');
  const verdicts = outcomes.map(({ backend, verdict }) => `${backend}: ${verdict}`).join('  ');
  return [`${name} ${verdicts}`, ...failures(outcomes).map((line) => `    ${line}`)];
}

/** What differs and is not known, one sentence each. */
export function failures(outcomes: readonly Outcome[]): string[] {
  return outcomes.flatMap(({ backend, differences }) =>
    differences
      .filter(({ known }) => known === null)
      .map(
        ({ field, oracle, backendSaw }) =>
          `${backend}: ${field} is ${backendSaw ?? 'none'}, and with the mesh's own rules ${oracle ?? 'none'}`,
      ),
  );
}

export function countLines(counts: readonly Count[]): string {
  return counts
    .map(({ mesh, backend, same, known, failed, absent }) => {
      const head = `${mesh.padEnd(8)} ${backend.padEnd(8)}`;
      return absent === null
        ? `${head} ${same} same, ${known} different for a known reason, ${failed} failed`
        : `${head} not run: ${absent}`;
    })
    .join('\n');
}

export function markdown(matrices: readonly Matrix[], backends: readonly Backend[]): string {
  const counts = countsOf(matrices, backends).map(({ mesh, backend, same, known, failed, absent }) =>
    absent === null
      ? `| ${mesh} | ${backend} | ${same + known + failed} | ${same} | ${known} | ${failed} |`
      : `| ${mesh} | ${backend} | not run: ${absent} | | | |`,
  );
  const landings = matrices.map(({ mesh, rows }) => [
    `### ${mesh.name}`,
    '',
    `| who | source | to | family | lands at |${backends.map((name) => ` ${name} |`).join('')}`,
    `|---|---|---|---|---|${backends.map(() => '---|').join('')}`,
    ...rows.map((row) => markdownRow(row, backends)),
    '',
  ]);
  const known = KNOWN_DIFFERENCES.map((entry) => knownRow(entry, matrices)).filter((row) => row !== null);
  return [
    '| mesh | backend | cases | same | known difference | failed |',
    '|---|---|---|---|---|---|',
    ...counts,
    '',
    '## Known differences',
    '',
    '| backend | cases | fields | reason |',
    '|---|---|---|---|',
    ...known,
    '',
    '## Every case',
    '',
    ...landings.flat(),
  ].join('\n');
}

function markdownRow({ case: tried, oracle, outcomes }: Row, backends: readonly Backend[]): string {
  const cells = backends.map((backend) => {
    const outcome = outcomes.find((entry) => entry.backend === backend);
    if (outcome === undefined) return '–';
    const { verdict, differences } = outcome;
    return verdict === 'same' ? 'same' : `${verdict}: ${differences.map(({ field }) => field).join(', ')}`;
  });
  const { who, source, to, family } = tried;
  return `| ${[who, source, to, `IPv${family}`, oracle.landing, ...cells].join(' | ')} |`;
}

function knownRow(entry: Difference, matrices: readonly Matrix[]): string | null {
  const rows = matrices.flatMap(({ rows }) => rows);
  const count = rows.filter(({ outcomes }) =>
    outcomes.some(({ differences }) => differences.some(({ known }) => known === entry)),
  ).length;
  return count === 0
    ? null
    : `| ${entry.backend} | ${count} | ${entry.fields.join(', ')} | ${entry.reason} |`;
}
