/**
 * `npm run bench`: Shunt, with and without acceleration, against iptables and against no redirection at all. Everything
 * is real (pods, proxies, rules) and interleaved in one run. Needs root.
 */
import { readFileSync, writeFileSync } from 'node:fs';
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
import { flags } from '../src/lab/flags.ts';
import { AS_IN_IMAGE } from './node_bed.ts';
import { measureNode } from './node_cost.ts';

const USAGE = `usage: npm run bench -- [--quick] [--rounds N] [--case TEXT] [--json F] [--svg F] [--markdown F [--readme F]]
  --quick     fewer cases and rounds, in a minute and a half
  --rounds    of each case
  --case      only cases whose id holds TEXT; \`node\` for what the agent and the CLI take
  --json      everything as JSON
  --svg       round trips and streams as a plot
  --markdown  docs/performance.md
  --readme    README.md, in which its figures are replaced
`;
const ROUNDS = 15;
const QUICK_ROUNDS = 5;
/** For the rounds of each lab: on a machine that is busy there are fewer of them. */
const BUDGET_MS = {
  full: { main: 230_000, envoy: 30_000, crowd: 30_000 },
  quick: { main: 30_000, envoy: 5_000, crowd: 0 },
} as const;
/** Idling lasts as long as from one look at everything to the next: one of them falls into it. */
const NODE_COST = {
  full: { pods: 500, rounds: 100, commands: 11, settleMs: 8_000, idleMs: 60_000 },
  quick: { pods: 100, rounds: 20, commands: 3, settleMs: 2_000, idleMs: 3_000 },
} as const;

const { values } = flags(USAGE, {
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
if (!Number.isInteger(rounds) || rounds < 1) {
  process.stderr.write(USAGE);
  process.exit(2);
}

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
