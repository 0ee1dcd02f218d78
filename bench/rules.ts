/** What rules cost: `npm run bench:rules`. Needs root. Takes a minute. */
import { cpus, release } from 'node:os';
import { median, percentile } from '../src/lab/statistics.ts';
import { CIDRS, type Cost, measure, PORTS, ratioOf } from '../test/faithful/rules_cost.ts';

const ROUNDS = Number(process.env.SHUNT_RULES_ROUNDS ?? 61);
const CONNECTS = 300;
/** What eBPF may cost with every rule, of what it costs with none. */
const MOST = 1.1;

function row({ contender, case: which, none, many }: Cost): string {
  const figures = [none, many].map(
    (values) =>
      `${us(median(values))} (${us(percentile(values, 0.1)).trim()}..${us(percentile(values, 0.9)).trim()})`,
  );
  const ratio = ratioOf({ contender, case: which, none, many });
  return [
    contender.padEnd(10),
    which.padEnd(9),
    ...figures.map((text) => text.padEnd(22)),
    `${ratio.toFixed(3)} x`,
  ].join(' ');
}

function us(ns: number): string {
  return (ns / 1000).toFixed(1).padStart(6);
}

const costs = await measure({ contenders: ['iptables', 'ebpf'], rounds: ROUNDS, connects: CONNECTS });
const lines = [
  `connect() in a pod with ${CIDRS} excluded CIDRs and ${PORTS} excluded ports, and in one with none`,
  '',
  `backend    sidecar   none, us (p10..p90)    rules, us (p10..p90)   ratio`,
  ...costs.map(row),
  '',
  `${ROUNDS} rounds of ${CONNECTS} connects, in turn; ratio: the median of the rounds'. ${cpus()[0]?.model}, ${cpus().length} CPUs, Linux ${release()}`,
];
process.stdout.write(`${lines.join('\n')}\n`);
const dear = costs.filter((cost) => cost.contender === 'ebpf' && ratioOf(cost) > MOST);
if (dear.length > 0) {
  process.stderr.write(`eBPF costs more than ${MOST} times as much with rules\n`);
  process.exitCode = 1;
}
