#!/usr/bin/env node
/** `npm run test:faithful`: what sockets do in a redirected pod, under eBPF as under iptables. */
import { release } from 'node:os';
import { flags } from '../../src/lab/flags.ts';
import { Bed } from './bed.ts';
import { type FactDifference, unused } from './differences.ts';
import { ITEMS } from './items/all.ts';
import { type Outcome, play } from './play.ts';
import { markdown, textLines, verdictOf } from './table.ts';

const USAGE = `usage: npm run test:faithful -- [--item TEXT]... [--facts] [--max-tier 1|2|3] [--markdown]
  --item      only items whose name holds TEXT
  --max-tier  of the eBPF backend
  --facts     print what was seen in each pod
  --markdown  what docs/faithfulness.md holds, instead of the lines
Fewer connections in the crowd: SHUNT_FAITHFUL_CROWD=200.
`;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<number> {
  const { values } = flags(USAGE, {
    options: {
      item: { type: 'string', multiple: true, default: [] },
      'max-tier': { type: 'string', default: '3' },
      facts: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
    },
  });
  const items = ITEMS.filter(
    ({ name }) => values.item.length === 0 || values.item.some((text) => name.includes(text)),
  );
  const maxTier = ([1, 2, 3] as const).find((tier) => String(tier) === values['max-tier']);
  if (items.length === 0 || maxTier === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  await using bed = await Bed.open(undefined, maxTier);
  const outcomes: Outcome[] = [];
  for (const item of items) {
    const outcome = await play(bed, item);
    if (!values.markdown) for (const line of textLines(outcome, values.facts)) print(line);
    outcomes.push(outcome);
  }
  const found: FactDifference[] = outcomes.flatMap(({ differences }) => differences);
  const ran = outcomes.filter(({ unavailable }) => unavailable === null).map(({ item }) => item.name);
  const stale = items.length === ITEMS.length ? unused(found, new Set(ran)) : [];
  for (const { reason } of values.markdown ? [] : stale)
    print(`FAILED   listed, and does not occur any more: ${reason}`);
  const count = (verdict: string) => outcomes.filter((outcome) => verdictOf(outcome) === verdict).length;
  const failed = count('FAILED') + stale.length;
  if (values.markdown) {
    print(markdown(outcomes));
    return failed > 0 ? 1 : 0;
  }
  const skipped = count('skipped');
  print(`\n${count('same')} the same, ${count('known')} different by choice; Linux ${release()}`);
  print(
    `${count('same') + count('known')} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
  );
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
