#!/usr/bin/env node
/** `npm run test:faithful`: what sockets do in a redirected pod, under eBPF as under iptables. */
import { release } from 'node:os';
import { parseArgs } from 'node:util';
import { Bed } from './bed.ts';
import { type FactDifference, unused } from './differences.ts';
import { ITEMS } from './items/all.ts';
import { type Outcome, play } from './play.ts';

const USAGE = `usage: npm run test:faithful -- [--item TEXT]... [--facts]
  --item   only items whose name holds TEXT
  --facts  print what was seen in each pod
Fewer connections in the crowd: SHUNT_FAITHFUL_CROWD=200.
`;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function verdictOf({ unavailable, faults, differences }: Outcome): string {
  if (unavailable !== null) return 'skipped';
  if (faults.length > 0) return 'FAILED';
  return differences.length > 0 ? 'known' : 'same';
}

function tell(outcome: Outcome, withFacts: boolean): void {
  const { item, unavailable, faults, differences, seen } = outcome;
  const ways = item.like === 'plain' ? 'plain = iptables = ebpf' : 'plain | iptables = ebpf';
  print(`${verdictOf(outcome).padEnd(8)} ${ways}  ${item.name}`);
  if (unavailable !== null) print(`           ${unavailable}`);
  for (const fault of faults) print(`           ${fault}`);
  const reasons = new Set(differences.flatMap(({ known }) => (known === null ? [] : [known.reason])));
  for (const reason of reasons) print(`           known: ${reason}`);
  if (!withFacts) return;
  for (const [contender, facts] of seen) {
    for (const { call, field, value } of facts) print(`           ${contender}: ${call}: ${field} ${value}`);
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      item: { type: 'string', multiple: true, default: [] },
      facts: { type: 'boolean', default: false },
    },
  });
  const items = ITEMS.filter(
    ({ name }) => values.item.length === 0 || values.item.some((text) => name.includes(text)),
  );
  if (items.length === 0) {
    process.stderr.write(USAGE);
    return 2;
  }
  await using bed = await Bed.open();
  const outcomes: Outcome[] = [];
  for (const item of items) {
    const outcome = await play(bed, item);
    tell(outcome, values.facts);
    outcomes.push(outcome);
  }
  const found: FactDifference[] = outcomes.flatMap(({ differences }) => differences);
  const ran = outcomes.filter(({ unavailable }) => unavailable === null).map(({ item }) => item.name);
  const stale = items.length === ITEMS.length ? unused(found, new Set(ran)) : [];
  for (const { reason } of stale) print(`FAILED   listed, and does not occur any more: ${reason}`);
  const count = (verdict: string) => outcomes.filter((outcome) => verdictOf(outcome) === verdict).length;
  const failed = count('FAILED') + stale.length;
  const skipped = count('skipped');
  print(`\n${count('same')} the same, ${count('known')} different by choice; Linux ${release()}`);
  print(
    `${count('same') + count('known')} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
  );
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
