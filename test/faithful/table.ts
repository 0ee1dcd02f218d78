/** Outcomes for people: lines as they come, or Markdown with every difference and its reason. */
import { release } from 'node:os';
import { KNOWN_DIFFERENCES } from './differences.ts';
import type { Outcome } from './play.ts';

export type Verdict = 'same' | 'known' | 'FAILED' | 'skipped';

export function verdictOf({ unavailable, faults, differences }: Outcome): Verdict {
  if (unavailable !== null) return 'skipped';
  if (faults.length > 0) return 'FAILED';
  return differences.length > 0 ? 'known' : 'same';
}

/** @param withFacts also what was seen in each pod */
export function textLines(outcome: Outcome, withFacts: boolean): string[] {
  const { item, unavailable, faults, differences, seen } = outcome;
  const ways = item.like === 'plain' ? 'plain = iptables = ebpf' : 'plain | iptables = ebpf';
  const reasons = new Set(differences.flatMap(({ known }) => (known === null ? [] : [known.reason])));
  const facts = withFacts
    ? [...seen].flatMap(([contender, list]) =>
        list.map(({ call, field, value }) => `${contender}: ${call}: ${field} ${value}`),
      )
    : [];
  const below = [
    ...(unavailable === null ? [] : [unavailable]),
    ...faults,
    ...[...reasons].map((reason) => `known: ${reason}`),
    ...facts,
  ];
  return [
    `${verdictOf(outcome).padEnd(8)} ${ways}  ${item.name}`,
    ...below.map((line) => `           ${line}`),
  ];
}

/** Text of docs/faithfulness.md. */
export function markdown(outcomes: readonly Outcome[]): string {
  return [
    ...INTRODUCTION,
    `Linux ${release()}. A number stands for a difference of the list below.`,
    '',
    '| item | compared with | outcome |',
    '|---|---|---|',
    ...outcomes.map(row),
    '',
    '## Known differences',
    '',
    'They stand in `test/faithful/differences.json`, each with the items, calls, fields and values that it holds for. One that does',
    'not show any more fails the suite.',
    '',
    ...KNOWN_DIFFERENCES.map(
      ({ reason, where }, index) =>
        `${index + 1}. ${sentence(reason)}${where === undefined ? '' : ` (${where}.)`}`,
    ),
  ].join('\n');
}

const INTRODUCTION = [
  '# What sockets do',
  '',
  'Each item is a use of sockets that an application or a sidecar may make. It is played in three pods of one policy: plain, under',
  'our iptables backend, and under eBPF. Compared are all return values and errors, SO_ERROR, getsockname() and getpeername(), the',
  'bytes, who accepts, and SO_ORIGINAL_DST: eBPF against iptables, or all three where nothing is to be redirected.',
  '',
  '    npm run test:faithful -- --markdown > docs/faithfulness.md',
  '',
];

function row(outcome: Outcome): string {
  const { item, unavailable, differences } = outcome;
  const numbers = new Set(
    differences.flatMap(({ known }) => (known === null ? [] : [KNOWN_DIFFERENCES.indexOf(known) + 1])),
  );
  const verdict = verdictOf(outcome);
  const said = {
    same: 'the same',
    known: `the same but for ${[...numbers].sort((a, b) => a - b).join(', ')}`,
    FAILED: '**failed**',
    skipped: `not run: ${unavailable}`,
  }[verdict];
  const other = item.like === 'plain' ? 'plain and iptables' : 'iptables';
  return `| ${item.name} | ${other} | ${said} |`;
}

function sentence(text: string): string {
  // `eBPF` and `sk_lookup` keep their letters.
  return /^[a-z]+ /.test(text) ? `${text.charAt(0).toUpperCase()}${text.slice(1)}.` : `${text}.`;
}
