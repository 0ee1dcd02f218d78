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
import { parseArgs } from 'node:util';
import { CASES, CROWD_CASES, casesOf, ENVOY_CASES } from '../src/cli/bench/cases.ts';
import { CONTENDERS, LIGHT_SIDECAR } from '../src/cli/bench/contenders.ts';
import { markdown } from '../src/cli/bench/markdown.ts';
import { plot } from '../src/cli/bench/plot.ts';
import { profileText } from '../src/cli/bench/program_times.ts';
import { benchTable, machine, promotionTable, report, targetTable } from '../src/cli/bench/report.ts';
import { type BenchResult, runCases } from '../src/cli/bench/run.ts';
import { judge } from '../src/cli/bench/targets.ts';
import { Interruption } from '../src/cli/demo/interruption.ts';
import { processIo } from '../src/cli/io.ts';
import { CLI } from '../test/fixtures/cli.ts';

const ROUNDS = 15;
const QUICK_ROUNDS = 5;
/** For the rounds of each lab: on a machine that is busy there are fewer of them. */
const BUDGET_MS = {
  full: { main: 230_000, envoy: 30_000, crowd: 30_000 },
  quick: { main: 30_000, envoy: 5_000, crowd: 0 },
} as const;

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
const rounds = Number(values.rounds ?? (values.quick ? QUICK_ROUNDS : ROUNDS));
if (!Number.isInteger(rounds) || rounds < 1)
  throw new Error(`--rounds ${values.rounds} is no number of rounds`);

const length = values.quick ? 'quick' : 'full';
const profiled = !values.quick && values.case === '';
const plans = [
  { sidecar: LIGHT_SIDECAR, cases: CASES, budgetMs: BUDGET_MS[length].main, profiled },
  { sidecar: 'envoy' as const, cases: ENVOY_CASES, budgetMs: BUDGET_MS[length].envoy },
  { sidecar: LIGHT_SIDECAR, cases: CROWD_CASES, budgetMs: BUDGET_MS[length].crowd },
]
  .map((plan) => ({ ...plan, cases: casesOf(plan.cases, length, values.case) }))
  .filter(({ cases }) => cases.length > 0);

using interruption = new Interruption(io);
const started = performance.now();
const result: BenchResult = { measurements: [], promotion: [], profiles: [] };
for (const plan of plans) {
  const options = { cli: CLI, bpffs: '/sys/fs/bpf', rounds, signal: interruption.signal, ...plan };
  const { measurements, promotion, profiles } = await runCases(options, io);
  result.measurements.push(...measurements);
  result.promotion.push(...promotion);
  result.profiles.push(...profiles);
}
const { measurements, promotion, profiles } = result;
const verdicts = judge(result);
const full = report(result, verdicts, {
  rounds,
  sidecars: [...new Set(plans.map(({ sidecar }) => sidecar))],
});
io.out(
  `\n${machine()}; up to ${rounds} rounds, contenders in turn; in brackets: median ratio to iptables of the\n`,
);
io.out(`same round, and its p10..p90\n\n${benchTable(measurements, CONTENDERS, io.colour.out)}\n`);
if (promotion.length > 0) io.out(`${promotionTable(promotion, io.colour.out)}\n`);
for (const profile of profiles) io.out(`${profileText(profile)}\n`);
io.out(`${targetTable(verdicts, io.colour.out)}\n`);
io.out(`in ${Math.round((performance.now() - started) / 1000)} s\n`);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(full, null, 2)}\n`);
if (values.svg !== undefined) writeFileSync(values.svg, plot(measurements));
if (values.markdown !== undefined) writeFileSync(values.markdown, markdown(full, verdicts));
