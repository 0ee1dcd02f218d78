#!/usr/bin/env node
/** `npm run test:matrix`: suites on Debian's kernels and this machine's, as a table in docs/kernels.md. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { flags } from '../../src/lab/flags.ts';
import { KERNELS } from '../../vagrant/kernel_package.ts';
import { HOST, markdown, type Row, runRow } from './matrix.ts';
import { merged, readResults, writeResults } from './results.ts';
import { SUITES } from './suites.ts';

const ALL = [...Object.keys(KERNELS), HOST];
const PAGE = join(import.meta.dirname, '..', '..', 'docs', 'kernels.md');
const RESULTS = join(import.meta.dirname, 'results.json');
const USAGE = `usage: npm run test:matrix -- [--kernels ${ALL.join(',')}] [--suites ${SUITES.map(({ name }) => name).join(',')}]
                                  [--output FILE] [--verbose]
  --output   default docs/kernels.md; what earlier runs gave (test/vm/results.json) stands in it, too
  --verbose  what the suites print, as they do; without it, that of the failed ones at the end
`;

async function main(): Promise<number> {
  const { values } = flags(USAGE, {
    options: {
      kernels: { type: 'string', default: ALL.join(',') },
      suites: { type: 'string', default: SUITES.map(({ name }) => name).join(',') },
      output: { type: 'string', default: PAGE },
      verbose: { type: 'boolean', default: false },
    },
  });
  const kernels = values.kernels.split(',');
  const names = values.suites.split(',');
  const suites = SUITES.filter(({ name }) => names.includes(name));
  if (!kernels.every((name) => ALL.includes(name)) || suites.length !== names.length) {
    process.stderr.write(USAGE);
    return 2;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => stop.abort(new Error(`stopped by ${signal}`)));

  const tell = (line: string): void => void process.stderr.write(`matrix: ${line}\n`);
  const rows: Row[] = [];
  // After each suite: what was found stands when a later one is stopped.
  const keep = (row: Row): void => {
    const results = merged(readResults(RESULTS), row, new Date());
    writeResults(RESULTS, results);
    const order = ALL.flatMap((name) => results.filter((each) => each.kernel === name));
    writeFileSync(values.output, markdown(order, SUITES));
  };
  const echo = (text: string): void => void (values.verbose && process.stdout.write(text));
  for (const kernel of kernels) {
    const row = await runRow(kernel, suites, { signal: stop.signal, tell, keep, echo });
    for (const { suite, outcome, output } of row.cells)
      if (!values.verbose && outcome === 'failed')
        process.stdout.write(`--- ${kernel} ${suite}\n${output}\n`);
    rows.push(row);
  }
  const cells = rows.flatMap((row) => row.cells);
  const count = (outcome: string): number => cells.filter((cell) => cell.outcome === outcome).length;
  const skipped = count('not applicable');
  process.stdout.write(`\n${count('passed')} passed, ${count('failed')} failed, ${skipped} not applicable\n`);
  return count('failed') === 0 ? 0 : 1;
}

process.exitCode = await main();
