import type { Io } from '../io.ts';
import { printable } from '../output/cell.ts';
import { dress, type Tone } from '../output/table.ts';
import type { LatencyReport } from './latency.ts';
import type { Row } from './row.ts';

/*
 * Rows are printed as they become known, so the columns have fixed widths: those of the longest values that the
 * scenarios can give. The look is that of every other table.
 */
const COLUMNS = [
  { head: 'SCENARIO', width: 24 },
  { head: 'ACCEPTED BY', width: 27 },
  { head: 'ORIGINAL DST', width: 20 },
  { head: 'GETPEERNAME', width: 23 },
  { head: 'RESULT', width: 0 },
] as const;
const GAP = '   ';
const BAR_WIDTH = 40;
const TONES: Record<Row['result'], Tone> = { ok: 'good', FAILED: 'bad', skipped: 'dim' };

export function tableHead(): string {
  return `${line(COLUMNS.map(({ head }) => head))}\n`;
}

/** A row, what it means, and what is wrong with it. */
export function tableRow(row: Row, io: Io): string {
  const distinct = [...new Set(row.originalDst)];
  const cells = [
    row.scenario,
    row.acceptedBy.join(', ') || '-',
    distinct.join(', ') || '-',
    row.peername ?? '-',
  ];
  const tone = TONES[row.result];
  const text = `${line(cells.map(printable))}${GAP}${dress(row.result, tone, io.colour.out)}\n`;
  const notes = [`${row.explanation}${bytesNote(row)}`];
  const said = notes.map((note) => `  ${dress(printable(note), 'dim', io.colour.out)}\n`).join('');
  const failures = row.failures.map(
    (failure) => `  ${dress(`! ${printable(failure)}`, 'bad', io.colour.out)}\n`,
  );
  return text + said + failures.join('');
}

function line(cells: readonly string[]): string {
  return cells.map((cell, index) => cell.padEnd(COLUMNS[index]?.width ?? 0)).join(GAP);
}

function bytesNote({ bytes }: Row): string {
  if (bytes === null) return '';
  return ` [${size(bytes.sent)} sent: lo ${size(bytes.lo)}, eth0 ${size(bytes.eth0)}]`;
}

/** Bytes in the unit that keeps it short; 1 KB is 1,024. */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const [value, unit] = bytes < 1024 ** 2 ? [bytes / 1024, 'KB'] : [bytes / 1024 ** 2, 'MB'];
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** The comparison as a table with bars: the longest is the slowest p50 of its size. */
export function latencyTable(report: LatencyReport, io: Io): string {
  const head = `${['SIZE', 'PATH', 'P50 US', 'P99 US', 'OF IPTABLES'].map(pad).join('').trimEnd()}\n`;
  let text = head;
  for (const { bytes, lanes } of report.results) {
    const slowest = Math.max(...lanes.map(({ p50 }) => p50));
    for (const { path, p50, p99, ratio } of lanes) {
      const cells = [size(bytes), path, p50.toFixed(1), p99.toFixed(1), ratio.toFixed(2)].map(pad).join('');
      const bar = '█'.repeat(Math.max(1, Math.round((p50 / slowest) * BAR_WIDTH)));
      text += `${cells}${dress(bar, path === 'shunt' ? 'good' : 'dim', io.colour.out)}\n`;
    }
  }
  const samples = report.rounds * report.roundTripsPerRound;
  const note = `${samples} round trips each in ${report.rounds} interleaved rounds, all on CPU ${report.cpu}; the ratio is the median over rounds`;
  return `${text}  ${dress(note, 'dim', io.colour.out)}\n`;
}

function pad(cell: string, column: number): string {
  return cell.padEnd(([6, 8, 6, 6, 11][column] ?? 0) + GAP.length);
}
