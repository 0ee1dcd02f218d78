import { printable } from './output/cell.ts';
import { dress } from './output/table.ts';

/** Where a command writes: data to `out`, everything said about it to `note`. */
export interface Io {
  /** Data, on stdout. */
  out(text: string): void;
  /** One line for people, on stderr; never part of the data. */
  note(line: string): void;
  /** Raw text on stderr. */
  err(text: string): void;
  /** Whether each stream takes colours: a terminal, without NO_COLOR; or FORCE_COLOR. */
  colour: { out: boolean; err: boolean };
  env: NodeJS.ProcessEnv;
}

/** The process's own streams. A reader that goes away (EPIPE) ends the output, not the work, and is no error. */
export function processIo(): Io {
  const io: Io = {
    out: writer(process.stdout),
    err: writer(process.stderr),
    note: (line) => io.err(`${dress(printable(line), 'dim', io.colour.err)}\n`),
    colour: { out: takesColour(process.stdout), err: takesColour(process.stderr) },
    env: process.env,
  };
  return io;
}

function writer(stream: NodeJS.WriteStream): (text: string) => void {
  let open = true;
  stream.on('error', (error: NodeJS.ErrnoException) => {
    open = false;
    if (error.code !== 'EPIPE') process.exitCode = 1;
  });
  return (text) => {
    if (open && text !== '') stream.write(text);
  };
}

function takesColour(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  if (NO_COLOR !== undefined && NO_COLOR !== '') return false;
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0';
  return stream.isTTY === true && stream.hasColors();
}
