/** A run as tables, for a terminal and for docs/performance.md. */
import { cpus, loadavg, release } from 'node:os';
import { median, ratio } from '../../lab/statistics.ts';
import { type Column, renderTable } from '../output/table.ts';
import type { Contender } from './contenders.ts';
import type { Measurement } from './measure.ts';
import type { PromotionCost } from './promotion.ts';
import type { BenchResult } from './run.ts';
import type { Verdict } from './targets.ts';

/** What `-o json` and `--json` give. */
export interface BenchReport extends BenchResult {
  date: string;
  machine: string;
  /** Load average of fifteen minutes at the end, the run's own work in it. */
  load: number;
  rounds: number;
  sidecars: string[];
  targets: { text: string; value: number; limit: string; met: boolean }[];
}

export function machine(): string {
  return `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${cpus().length} CPUs, Linux ${release()}`;
}

/** Three digits that count. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toFixed(Math.min(digits, 2));
}

function cellOf(measurement: Measurement, contender: Contender): string {
  const own = measurement.values.find((value) => value.contender === contender)?.rounds;
  if (own === undefined) return '-';
  const base = measurement.values.find((value) => value.contender === 'iptables')?.rounds;
  if (base === undefined || contender === 'iptables') return figure(median(own));
  const { median: middle, low, high } = ratio(own, base);
  return `${figure(median(own))} (${middle.toFixed(2)}, ${low.toFixed(2)}..${high.toFixed(2)})`;
}

export function tableRows(
  measurements: readonly Measurement[],
  contenders: readonly Contender[],
): { what: string; placement: string; cells: string[] }[] {
  return measurements.map((one) => ({
    what: `${one.title}: ${one.metric.name}, ${one.metric.unit}`,
    placement: one.placement,
    cells: contenders.map((contender) => cellOf(one, contender)),
  }));
}

/** For a terminal. In brackets: the median of the rounds' ratios to iptables, and their p10..p90. */
export function benchTable(
  measurements: readonly Measurement[],
  contenders: readonly Contender[],
  colour: boolean,
): string {
  type Row = ReturnType<typeof tableRows>[number];
  const columns: Column<Row>[] = [
    { head: 'CASE', cell: (row) => row.what },
    { head: 'CPUS', cell: (row) => row.placement },
    ...contenders.map((contender, index) => ({
      head: contender.toUpperCase(),
      cell: (row: Row) => row.cells[index] ?? '-',
    })),
  ];
  return renderTable(columns, tableRows(measurements, contenders), { wide: false, colour });
}

/** Two digits behind the point, and more where these say nothing. */
export function share(value: number): string {
  return value.toFixed(Math.abs(value) < 0.05 ? 4 : 2);
}

export function limitOf({ most, least }: Verdict['target']): string {
  return most !== undefined ? `<= ${share(most)}` : `>= ${share(least ?? 0)}`;
}

export function targetTable(verdicts: readonly Verdict[], colour: boolean): string {
  const columns: Column<Verdict>[] = [
    { head: 'TARGET', cell: ({ target }) => target.text },
    { head: 'LIMIT', cell: ({ target }) => limitOf(target) },
    { head: 'MEASURED', cell: ({ value }) => share(value) },
    {
      head: 'RESULT',
      cell: ({ met }) => (met ? 'met' : 'missed'),
      tone: ({ met }) => (met ? 'good' : 'warn'),
    },
  ];
  return renderTable(columns, verdicts, { wide: false, colour });
}

/** What idle connections cost the agent. */
export function promotionTable(costs: readonly PromotionCost[], colour: boolean): string {
  const columns: Column<PromotionCost>[] = [
    { head: 'IDLE CONNECTIONS', cell: ({ connections }) => connections },
    { head: 'WALKS/S', cell: ({ walksPerSecond }) => figure(walksPerSecond) },
    { head: 'AGENT MS/S', cell: ({ agentMs }) => figure(agentMs) },
    { head: 'OF IT IN THE PROGRAM', cell: ({ programMs }) => figure(programMs) },
  ];
  return renderTable(columns, costs, { wide: false, colour });
}

export function report(
  result: BenchResult,
  verdicts: readonly Verdict[],
  run: { rounds: number; sidecars: string[] },
): BenchReport {
  return {
    date: new Date().toISOString(),
    machine: machine(),
    load: loadavg()[2] ?? Number.NaN,
    ...run,
    ...result,
    targets: verdicts.map(({ target, value, met }) => ({
      text: target.text,
      value,
      limit: limitOf(target),
      met,
    })),
  };
}
