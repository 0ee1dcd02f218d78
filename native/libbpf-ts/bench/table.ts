/** One measured thing. */
export interface Row {
  name: string;
  median: number;
  /** 10th and 90th percentile. */
  low: number;
  high: number;
  unit: string;
  /** Median relative to that of the row it is compared with. */
  ratio: string;
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN;
}

/** @param to the row to give the ratio to */
export function rowOf(name: string, samples: readonly number[], unit: string, to?: Row): Row {
  const sorted = [...samples].sort((a, b) => a - b);
  const median = percentile(sorted, 0.5);
  const ratio = to === undefined ? '' : `${(median / to.median).toFixed(2)} x ${to.name}`;
  return { name, median, low: percentile(sorted, 0.1), high: percentile(sorted, 0.9), unit, ratio };
}

function figure(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Rows as text, figures to the right. */
export function table(rows: readonly Row[]): string {
  const cells = [
    ['', 'median', 'p10', 'p90', 'unit', 'ratio'],
    ...rows.map((row) => [
      row.name,
      figure(row.median),
      figure(row.low),
      figure(row.high),
      row.unit,
      row.ratio,
    ]),
  ];
  const widths =
    cells[0]?.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0))) ?? [];
  const isFigure = (column: number): boolean => column > 0 && column < 4;
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, column) => {
        const width = widths[column] ?? 0;
        return isFigure(column) ? text.padStart(width) : text.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return `${cells.map(line).join('\n')}\n`;
}
