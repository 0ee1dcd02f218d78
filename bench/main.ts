/**
 * Shunt, with and without acceleration, against iptables and against no redirection at all: `npm run bench`. Everything
 * is real (pods, proxies, rules) and interleaved in one run. Needs root.
 *
 *   --quick        fewer cases and rounds, in a minute and a half
 *   --rounds N     of each case
 *   --case TEXT    only cases whose id holds TEXT
 *   --json F       everything as JSON
 *   --svg F        round trips and streams as a plot
 *   --markdown F   docs/performance.md
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CASES, type Case, requests } from '../src/cli/bench/cases.ts';
import { CONTENDERS, LIGHT_SIDECAR } from '../src/cli/bench/contenders.ts';
import { markdown } from '../src/cli/bench/markdown.ts';
import type { Measurement } from '../src/cli/bench/measure.ts';
import { plot } from '../src/cli/bench/plot.ts';
import { benchTable, machine, report, targetTable } from '../src/cli/bench/report.ts';
import { runCases } from '../src/cli/bench/run.ts';
import { judge } from '../src/cli/bench/targets.ts';
import { Interruption } from '../src/cli/demo/interruption.ts';
import { processIo } from '../src/cli/io.ts';

const ROUNDS = 15;
const QUICK_ROUNDS = 7;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    case: { type: 'string', default: '' },
    json: { type: 'string' },
    svg: { type: 'string' },
    markdown: { type: 'string' },
  },
});

const io = processIo();
const cli = [
  process.execPath,
  '--conditions=source',
  join(import.meta.dirname, '../src/cli/main.ts'),
] as const;
const rounds = Number(values.rounds ?? (values.quick ? QUICK_ROUNDS : ROUNDS));
if (!Number.isInteger(rounds) || rounds < 1)
  throw new Error(`--rounds ${values.rounds} is no number of rounds`);

const wanted = (one: Case): boolean => (one.quick || !values.quick) && one.id.includes(values.case);
const plans = [
  { sidecar: LIGHT_SIDECAR, cases: CASES.filter(wanted) },
  { sidecar: 'envoy' as const, cases: [64, 4096].map(requests).filter(wanted) },
].filter(({ cases }) => cases.length > 0);

using interruption = new Interruption(io);
const started = performance.now();
const measurements: Measurement[] = [];
for (const plan of plans) {
  const options = { cli, bpffs: '/sys/fs/bpf', rounds, signal: interruption.signal, ...plan };
  measurements.push(...(await runCases(options, io)));
}
const verdicts = judge(measurements);
const full = report(measurements, verdicts, { rounds, sidecars: plans.map(({ sidecar }) => sidecar) });
io.out(
  `\n${machine()}; ${rounds} rounds, contenders in turn; in brackets: median ratio to iptables of the\n`,
);
io.out(`same round, and its p10..p90\n\n${benchTable(measurements, CONTENDERS, io.colour.out)}\n`);
io.out(`${targetTable(verdicts, io.colour.out)}\n`);
io.out(`in ${Math.round((performance.now() - started) / 1000)} s\n`);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(full, null, 2)}\n`);
if (values.svg !== undefined) writeFileSync(values.svg, plot(measurements));
if (values.markdown !== undefined) writeFileSync(values.markdown, markdown(full, verdicts));
