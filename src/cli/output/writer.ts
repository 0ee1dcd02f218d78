import type { Io } from '../io.ts';
import { printable } from './cell.ts';
import { renderJson } from './json.ts';
import { type Column, type Look, renderTable } from './table.ts';

export const FORMATS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Format = (typeof FORMATS)[number];

/** One answer of a command in every form it can be asked for. */
export interface Answer {
  /** What json and yaml print; its shape is documented in docs/cli.md. */
  data: unknown;
  /** `kind/name` of each object, for `-o name`. */
  names(): string[];
  text(look: Look): string;
}

/** A list: its columns are data, its rows are what json prints. */
export interface ListView<Row> {
  kind: string;
  /** Where they follow from what is listed: by its first row. */
  columns: readonly Column<Row>[] | ((first: Row) => readonly Column<Row>[]);
  name(row: Row): string;
}

/** The one place where a command's data becomes text on stdout. */
export async function write(io: Io, format: Format, answer: Answer): Promise<void> {
  if (isForPeople(format)) io.out(answer.text({ wide: format === 'wide', colour: io.colour.out }));
  else await writeData(io, format, answer);
}

export function isForPeople(format: Format): format is 'table' | 'wide' {
  return format === 'table' || format === 'wide';
}

async function writeData(
  io: Io,
  format: Exclude<Format, 'table' | 'wide'>,
  { data, names }: Omit<Answer, 'text'>,
): Promise<void> {
  switch (format) {
    case 'json':
      io.out(renderJson(data));
      return;
    case 'yaml': {
      const { renderYaml } = await import('./yaml.ts');
      io.out(renderYaml(data));
      return;
    }
    case 'name':
      io.out(
        names()
          .map((name) => `${printable(name)}\n`)
          .join(''),
      );
  }
}

/** @param rows gone through once: in a table none is kept */
export async function writeList<Row>(
  io: Io,
  format: Format,
  view: ListView<Row>,
  rows: Iterable<Row>,
): Promise<void> {
  if (!isForPeople(format)) {
    const data = [...rows];
    const names = () => data.map((row) => `${view.kind}/${view.name(row)}`);
    return writeData(io, format, { data, names });
  }
  const iterator = rows[Symbol.iterator]();
  const first = iterator.next();
  if (first.done === true) {
    io.note(`no ${view.kind} found`);
    return;
  }
  const columns = typeof view.columns === 'function' ? view.columns(first.value) : view.columns;
  const all = chained(first.value, iterator);
  io.out(renderTable(columns, all, { wide: format === 'wide', colour: io.colour.out }));
}

function* chained<Row>(first: Row, rest: Iterator<Row>): Generator<Row> {
  yield first;
  for (let next = rest.next(); next.done !== true; next = rest.next()) yield next.value;
}
