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
      const head = `${mesh.padEnd(8)} ${backend.padEnd(9)}`;
      return absent === null
        ? `${head} ${same} same, ${known} different by choice, ${failed} failed`
        : `${head} not run: ${absent}`;
    })
    .join('\n');
}

/** Text of docs/conformance.md. */
export function markdown(matrices: readonly Matrix[], backends: readonly Backend[]): string {
  const counts = countsOf(matrices, backends).map(({ mesh, backend, same, known, failed, absent }) =>
    absent === null
      ? `| ${mesh} | ${backend} | ${same + known + failed} | ${same} | ${known} | ${failed} |`
      : `| ${mesh} | ${backend} | not run: ${absent} | | | |`,
  );
  return [
    ...INTRODUCTION,
    '| mesh | backend | cases | same | known difference | failed |',
    '|---|---|---|---|---|---|',
    ...counts,
    '',
    '## Known differences',
    '',
    'They stand in `test/conformance/differences.json`, each with the cases and fields that it holds for. A case may show several.',
    '',
    '| no. | backend | cases | fields | reason |',
    '|---|---|---|---|---|',
    ...KNOWN_DIFFERENCES.map((entry, index) => knownRow(entry, index, matrices)),
    '',
    '## Where connections land',
    '',
    "Under the mesh's own rules, for IPv4; where IPv6 differs it follows a slash. A number in brackets: under eBPF it lands",
    'elsewhere, for the reason of that number. `sidecar` and `app` stand for their listeners in the pod.',
    '',
    ...matrices.flatMap(landingTable),
  ].join('\n');
}

const INTRODUCTION = [
  '# Conformance',
  '',
  "Each mesh's own rules, written by hand for iptables-restore from the description of the mesh (`test/conformance/oracle`),",
  'and our backends with the policy that we make of a pod of the mesh (`test/conformance/pods`). Real connections in real network',
  'namespaces; compared are who accepts, SO_ORIGINAL_DST, and what getsockname() and getpeername() say at both ends.',
  '',
  '    npm run test:conformance -- --mesh all --markdown > docs/conformance.md',
  '',
  "`beside` is a pod in which an init container has put the rules of the mesh before eBPF takes over; no packet of the pod's own",
  'connections may then meet a REDIRECT rule that takes it (counted by the rules). `withdrawn` is the same pod after eBPF left it.',
  '',
];

const COLUMNS = ['app', 'root', 'proxy-gid', 'proxy-uid', 'sidecar', 'outside'] as const;

function landingTable({ mesh, rows }: Matrix): string[] {
  const lines = new Map<string, Row[]>();
  for (const row of rows) {
    const { to, source } = row.case;
    const name = source === 'default' ? to : `${to}, from 127.0.0.6 or ::6`;
    lines.set(name, [...(lines.get(name) ?? []), row]);
  }
  return [
    `### ${mesh.name}`,
    '',
    `| to | ${COLUMNS.join(' | ')} |`,
    `|---|${COLUMNS.map(() => '---|').join('')}`,
    ...[...lines].map(
      ([name, found]) => `| ${name} | ${COLUMNS.map((who) => cell(found, who)).join(' | ')} |`,
    ),
    '',
  ];
}

function cell(rows: readonly Row[], who: string): string {
  const texts = rows.filter((row) => row.case.who === who).map((row) => `${row.oracle.landing}${mark(row)}`);
  return [...new Set(texts)].join(' / ');
}

function mark({ outcomes }: Row): string {
  const landings = outcomes.flatMap(({ differences }) =>
    differences.filter(({ field }) => field === 'landing'),
  );
  const numbers = landings.map(({ known }) => (known === null ? '?' : KNOWN_DIFFERENCES.indexOf(known) + 1));
  return numbers.length === 0 ? '' : ` [${numbers.join(', ')}]`;
}

function knownRow(entry: Difference, index: number, matrices: readonly Matrix[]): string {
  const count = matrices
    .flatMap(({ rows }) => rows)
    .filter(({ outcomes }) =>
      outcomes.some(({ differences }) => differences.some(({ known }) => known === entry)),
    ).length;
  return `| ${index + 1} | ${entry.backends.join(', ')} | ${count} | ${entry.fields.join(', ')} | ${entry.reason} |`;
}
