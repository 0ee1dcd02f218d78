/** What the agent and the CLI take of a node, beside what connections cost: figures of their own, and their targets. */
import { median, percentile } from '../../lab/statistics.ts';
import { type Column, renderTable } from '../output/table.ts';
import { figure, share } from './report.ts';
import type { Verdict } from './targets.ts';

export interface NodeFigure {
  id: string;
  title: string;
  unit: string;
  /** One for each time that it was done. */
  values: number[];
}

/** Of the design, each held to a figure of the same run; `rank` is the percentile. */
const TARGETS = [
  { figure: 'enroll', what: 'enroll a pod, event to enforced', rank: 0.5, most: 3 },
  { figure: 'enroll', what: 'enroll a pod, event to enforced', rank: 0.99, most: 8 },
  { figure: 'cni-add', what: 'CNI ADD, warm', rank: 0.5, most: 4 },
  { figure: 'cni-add', what: 'CNI ADD, warm', rank: 0.99, most: 10 },
  { figure: 'rss-500', what: 'agent with 500 pods: resident', rank: 0.5, most: 90 },
  { figure: 'idle-500', what: 'agent with 500 pods, idle: share of a core', rank: 0.5, most: 0.005 },
  { figure: 'help', what: 'shunt --help', rank: 0.5, most: 60 },
  { figure: 'dump', what: 'shunt map dump of 100,000 entries', rank: 0.5, most: 150 },
] as const;

/** Targets whose figure was taken. */
export function judgeNode(figures: readonly NodeFigure[]): Verdict[] {
  return TARGETS.flatMap(({ figure: id, what, rank, most }) => {
    const found = figures.find((one) => one.id === id);
    if (found === undefined) return [];
    const value = percentile(found.values, rank);
    const unit = found.unit === '' ? '' : `, ${found.unit}`;
    const at = found.values.length > 1 ? `: p${rank * 100}` : '';
    return [{ target: { text: `${what}${unit}${at}`, most }, value, met: value <= most }];
  });
}

/** Cells: what, how often, p50, p99. */
export function nodeRows(figures: readonly NodeFigure[]): [string, string, string, string][] {
  return figures.map(({ title, unit, values }) => {
    const shown = unit === '' ? share : figure;
    return [
      unit === '' ? title : `${title}, ${unit}`,
      String(values.length),
      shown(median(values)),
      values.length > 1 ? shown(percentile(values, 0.99)) : '-',
    ];
  });
}

export function nodeTable(figures: readonly NodeFigure[], colour: boolean): string {
  type Row = ReturnType<typeof nodeRows>[number];
  const columns: Column<Row>[] = ['OF THE NODE', 'TIMES', 'P50', 'P99'].map((head, index) => ({
    head,
    cell: (row) => row[index] ?? '-',
  }));
  return renderTable(columns, nodeRows(figures), { wide: false, colour });
}
