import { styleText } from 'node:util';
import { type Cell, cellText } from './cell.ts';

/** How a value is to be read; colours are its dress on a terminal only. */
export type Tone = 'good' | 'warn' | 'bad' | 'dim';

/** One column of a list, as data. */
export interface Column<Row> {
  /** Head in upper case. */
  head: string;
  cell(row: Row): Cell;
  /** Shown with `-o wide` only. */
  wide?: boolean;
  tone?(row: Row): Tone | undefined;
}

/** One line of a record: `Label:   value`. */
export interface Field<Record> {
  label: string;
  value(record: Record): Cell;
  wide?: boolean;
  tone?(record: Record): Tone | undefined;
}

export interface Look {
  wide: boolean;
  colour: boolean;
  /** Columns of blanks before each line. */
  indent?: number;
}

const STYLES = { good: 'green', warn: 'yellow', bad: 'red', dim: 'dim' } as const;
const GAP = 3;

/** kubectl's look: upper-case heads, three blanks between columns, no borders, no trailing blanks. */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], look: Look): string {
  const shown = columns.filter((column) => look.wide || column.wide !== true);
  const texts = rows.map((row) => shown.map((column) => cellText(column.cell(row))));
  const widths = shown.map((column, index) =>
    texts.reduce((width, line) => Math.max(width, line[index]?.length ?? 0), column.head.length),
  );
  const margin = ' '.repeat(look.indent ?? 0);
  const line = (cells: string[], tones: (Tone | undefined)[]) =>
    margin +
    cells
      .map((text, index) => {
        const last = index === cells.length - 1;
        const gap = last ? '' : ' '.repeat((widths[index] ?? 0) - text.length + GAP);
        return dress(text, tones[index], look.colour) + gap;
      })
      .join('') +
    '\n';
  let text = line(
    shown.map((column) => column.head),
    [],
  );
  rows.forEach((row, index) => {
    text += line(
      texts[index] ?? [],
      shown.map((column) => column.tone?.(row)),
    );
  });
  return text;
}

/** A record as aligned `Label:   value` lines. */
export function renderFields<Record>(fields: readonly Field<Record>[], record: Record, look: Look): string {
  const shown = fields.filter((field) => look.wide || field.wide !== true);
  const width = shown.reduce((most, field) => Math.max(most, field.label.length), 0);
  const margin = ' '.repeat(look.indent ?? 0);
  return shown
    .map((field) => {
      const label = `${field.label}:`.padEnd(width + 1 + GAP);
      return `${margin}${label}${dress(cellText(field.value(record)), field.tone?.(record), look.colour)}\n`;
    })
    .join('');
}

export function dress(text: string, tone: Tone | undefined, colour: boolean): string {
  return tone === undefined || !colour ? text : styleText(STYLES[tone], text, { validateStream: false });
}
