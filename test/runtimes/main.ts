#!/usr/bin/env node
/** `npm run test:runtimes`: servers, clients and databases through accelerated sidecars, as through iptables. */
import { release } from 'node:os';
import { flags } from '../../src/lab/flags.ts';
import { Bed, sidecarHere } from './bed.ts';
import { CASES } from './cases/all.ts';
import { type Outcome, play } from './play.ts';
import { markdown, textLines, verdictOf } from './table.ts';
import { versions } from './versions.ts';

const USAGE = `usage: npm run test:runtimes -- [--case TEXT]... [--rounds N] [--sidecar envoy|haproxy] [--seen] [--markdown]
  --case      only runtimes whose name holds TEXT
  --rounds    how often each is played; default 1
  --sidecar   of all pods; default: Envoy where it is here
  --seen      print what was seen under each contender
  --markdown  what docs/runtimes.md holds, instead of the lines
`;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<number> {
  const { values } = flags(USAGE, {
    options: {
      case: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string', default: '1' },
      sidecar: { type: 'string', default: sidecarHere() },
      seen: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
    },
  });
  const wanted = values.case;
  const cases = CASES.filter(({ name }) => wanted.length === 0 || wanted.some((text) => name.includes(text)));
  const sidecar = (['envoy', 'haproxy'] as const).find((kind) => kind === values.sidecar);
  const rounds = Number(values.rounds);
  if (cases.length === 0 || sidecar === undefined || !(rounds >= 1)) {
    process.stderr.write(USAGE);
    return 2;
  }
  await using bed = await Bed.open('rt', sidecar);
  const hindrance = await bed.hindrance();
  if (hindrance !== null && !values.markdown) print(`nothing is accelerated here: ${hindrance}`);
  const outcomes: Outcome[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const runtime of cases) {
      const start = performance.now();
      const outcome = await play(bed, runtime, { hindrance });
      const seconds = (performance.now() - start) / 1000;
      if (!values.markdown) for (const line of textLines(outcome, seconds, values.seen)) print(line);
      outcomes.push(outcome);
    }
  }
  if (values.markdown) print(markdown(outcomes, sidecar, await versions()));
  const count = (verdict: string) => outcomes.filter((outcome) => verdictOf(outcome) === verdict).length;
  const failed = count('FAILED');
  if (!values.markdown) {
    const skipped = count('skipped');
    print(`\n${count('same')} the same as under iptables; Linux ${release()}, ${sidecar}`);
    print(`${count('same')} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  }
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
