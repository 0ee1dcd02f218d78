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

/** Lines put together at a time: a text that grows by one of 100,000 is much work for the collector. */
const BLOCK = 1_000;

/** What is kept of a column: of the rows, of which there may be 100,000, nothing else. */
interface Texts<Row> {
  column: Column<Row>;
  texts: string[];
  width: number;
  /** By the number of the line; none of those that have no tone. */
  tones: Map<number, Tone>;
}

/** kubectl's look: upper-case heads, three blanks between columns, no borders, no trailing blanks. */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: Iterable<Row>, look: Look): string {
  const shown = columns
    .filter((column) => look.wide || column.wide !== true)
    .map((column): Texts<Row> => {
      return { column, texts: [column.head], width: column.head.length, tones: new Map() };
    });
  let lines = 1;
  for (const row of rows) {
    for (const each of shown) {
      const { column, texts, tones } = each;
      const text = cellText(column.cell(row));
      texts.push(text);
      if (text.length > each.width) each.width = text.length;
      const tone = look.colour ? column.tone?.(row) : undefined;
      if (tone !== undefined) tones.set(lines, tone);
    }
    lines++;
  }
  const margin = ' '.repeat(look.indent ?? 0);
  const blocks: string[] = [];
  for (let at = 0; at < lines; at += BLOCK) {
    const end = Math.min(lines, at + BLOCK);
    const block = Array.from(
      { length: end - at },
      (_, index) => margin + line(shown, at + index, look.colour),
    );
    blocks.push(block.join(''));
  }
  return blocks.join('');
}

function line<Row>(columns: readonly Texts<Row>[], at: number, colour: boolean): string {
  let whole = '';
  let gap = 0;
  for (const { texts, width, tones } of columns) {
    const text = texts[at] ?? '';
    whole += ' '.repeat(gap) + dress(text, tones.get(at), colour);
    gap = width - text.length + GAP;
  }
  return `${whole}\n`;
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
