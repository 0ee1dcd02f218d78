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
  columns: readonly Column<Row>[];
  name(row: Row): string;
}

/** The one place where a command's data becomes text on stdout. */
export async function write(io: Io, format: Format, answer: Answer): Promise<void> {
  switch (format) {
    case 'json':
      io.out(renderJson(answer.data));
      return;
    case 'yaml': {
      const { renderYaml } = await import('./yaml.ts');
      io.out(renderYaml(answer.data));
      return;
    }
    case 'name':
      io.out(
        answer
          .names()
          .map((name) => `${printable(name)}\n`)
          .join(''),
      );
      return;
    default:
      io.out(answer.text({ wide: format === 'wide', colour: io.colour.out }));
  }
}

export async function writeList<Row>(
  io: Io,
  format: Format,
  view: ListView<Row>,
  rows: readonly Row[],
): Promise<void> {
  if (rows.length === 0 && (format === 'table' || format === 'wide')) {
    io.note(`no ${view.kind} found`);
    return;
  }
  await write(io, format, {
    data: rows,
    names: () => rows.map((row) => `${view.kind}/${view.name(row)}`),
    text: (look) => renderTable(view.columns, rows, look),
  });
}
