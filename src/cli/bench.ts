import * as v from 'valibot';
import { CASES, casesOf } from './bench/cases.ts';
import { CONTENDERS } from './bench/contenders.ts';
import { benchTable, machine, report, targetTable } from './bench/report.ts';
import { runCases } from './bench/run.ts';
import { judge } from './bench/targets.ts';
import type { Context } from './context.ts';
import { ownCli } from './demo/agent_process.ts';
import { Interruption } from './demo/interruption.ts';
import { renderJson } from './output/json.ts';

const Options = v.object({
  sidecar: v.optional(v.picklist(['envoy', 'haproxy']), 'haproxy'),
  rounds: v.optional(v.number(), 7),
});

/** For the rounds; with the set-up some twenty seconds. A busy machine has fewer rounds. */
const BUDGET_MS = 10_000;

/** `shunt bench`: what the redirection costs on this node. Exit 128 + n when signal n ended it. */
export async function bench(context: Context, given: unknown): Promise<number> {
  const { io, format, bpffs } = context;
  const { sidecar, rounds } = v.parse(Options, given);
  using interruption = new Interruption(io);
  const { signal } = interruption;
  const cases = casesOf(CASES, 'node');
  // What a pod may opt in to is for the long form.
  const contenders = CONTENDERS.filter((contender) => contender !== 'full');
  try {
    const run = { cli: ownCli(), bpffs, sidecar, contenders, cases, rounds, budgetMs: BUDGET_MS, signal };
    const result = await runCases(run, io);
    const { measurements } = result;
    const verdicts = judge(result);
    if (format === 'json') {
      io.out(renderJson(report(result, verdicts, { rounds, sidecars: [sidecar] })));
      return 0;
    }
    io.note(`${machine()}; up to ${rounds} rounds, in turn; in brackets: median ratio to iptables, p10..p90`);
    io.out(benchTable(measurements, contenders, io.colour.out));
    io.out(`\n${targetTable(verdicts, io.colour.out)}`);
    return 0;
  } catch (error) {
    if (signal.aborted) return interruption.exitCode;
    throw error;
  }
}
