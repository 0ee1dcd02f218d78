/**
 * Shunt, with and without acceleration, against iptables and against no redirection at all: `npm run bench`. Everything
 * is real (pods, proxies, rules) and interleaved in one run. Needs root.
 *
 *   --quick        fewer cases and rounds, in a minute and a half
 *   --rounds N     of each case
 *   --case TEXT    only cases whose id holds TEXT; `node` for what the agent and the CLI take
 *   --json F       everything as JSON
 *   --svg F        round trips and streams as a plot
 *   --markdown F   docs/performance.md
 *   --readme F     README.md, in which its figures are replaced; with --markdown
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { CASES, CROWD_CASES, casesOf, ENVOY_CASES } from '../src/cli/bench/cases.ts';
import { CONTENDERS, LIGHT_SIDECAR } from '../src/cli/bench/contenders.ts';
import { markdown } from '../src/cli/bench/markdown.ts';
import { nodeTable } from '../src/cli/bench/node_figures.ts';
import { plot } from '../src/cli/bench/plot.ts';
import { profileText } from '../src/cli/bench/program_times.ts';
import { withFigures } from '../src/cli/bench/readme_table.ts';
import { benchTable, machine, promotionTable, report, targetTable } from '../src/cli/bench/report.ts';
import { type BenchResult, runCases } from '../src/cli/bench/run.ts';
import { judge } from '../src/cli/bench/targets.ts';
import { Interruption } from '../src/cli/demo/interruption.ts';
import { processIo } from '../src/cli/io.ts';
import { AS_IN_IMAGE } from './node_bed.ts';
import { measureNode } from './node_cost.ts';

const ROUNDS = 15;
const QUICK_ROUNDS = 5;
/** For the rounds of each lab: on a machine that is busy there are fewer of them. */
const BUDGET_MS = {
  full: { main: 230_000, envoy: 30_000, crowd: 30_000 },
  quick: { main: 30_000, envoy: 5_000, crowd: 0 },
} as const;
/** Idling lasts longer than from one look at everything to the next. */
const NODE_COST = {
  full: { pods: 500, rounds: 100, commands: 11, settleMs: 8_000, idleMs: 32_000 },
  quick: { pods: 100, rounds: 20, commands: 3, settleMs: 2_000, idleMs: 3_000 },
} as const;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    case: { type: 'string', default: '' },
    json: { type: 'string' },
    svg: { type: 'string' },
    markdown: { type: 'string' },
    readme: { type: 'string' },
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
const result: BenchResult = { measurements: [], promotion: [], profiles: [], node: [] };
for (const plan of plans) {
  const options = { cli: AS_IN_IMAGE, bpffs: '/sys/fs/bpf', rounds, signal: interruption.signal, ...plan };
  const { measurements, promotion, profiles } = await runCases(options, io);
  result.measurements.push(...measurements);
  result.promotion.push(...promotion);
  result.profiles.push(...profiles);
}
if (values.case === '' || values.case === 'node') {
  io.note('what the agent and the CLI take');
  result.node.push(
    ...(await measureNode({ bpffs: '/sys/fs/bpf', signal: interruption.signal, ...NODE_COST[length] }, io)),
  );
}
const { measurements, promotion, profiles, node } = result;
const verdicts = judge(result);
const full = report(result, verdicts, {
  rounds,
  sidecars: [...new Set(plans.map(({ sidecar }) => sidecar))],
});
if (measurements.length > 0) {
  io.out(
    `\n${machine()}; up to ${rounds} rounds, contenders in turn; in brackets: median ratio to iptables of the\n`,
  );
  io.out(`same round, and its p10..p90\n\n${benchTable(measurements, CONTENDERS, io.colour.out)}\n`);
}
if (promotion.length > 0) io.out(`${promotionTable(promotion, io.colour.out)}\n`);
for (const profile of profiles) io.out(`${profileText(profile)}\n`);
if (node.length > 0) io.out(`${nodeTable(node, io.colour.out)}\n`);
io.out(`${targetTable(verdicts, io.colour.out)}\n`);
io.out(`in ${Math.round((performance.now() - started) / 1000)} s\n`);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(full, null, 2)}\n`);
if (values.svg !== undefined) writeFileSync(values.svg, plot(measurements));
if (values.markdown !== undefined) {
  const page = markdown(full, verdicts);
  writeFileSync(values.markdown, page);
  if (values.readme !== undefined)
    writeFileSync(values.readme, withFigures(readFileSync(values.readme, 'utf8'), page));
}
