import { errorReport, ShuntError } from '../errors.ts';
import type { Io } from './io.ts';
import { printable } from './output/cell.ts';
import { compactJson } from './output/json.ts';
import { dress } from './output/table.ts';
import type { Format } from './output/writer.ts';

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

const LOG_LINES = 12;

/**
 * Tells of a failure on stderr, as one block or, with `-o json`, as one JSON object, and gives the exit code.
 * Data never shares a stream with an error, so a script may parse stdout whatever happens.
 */
export function tellFailure(io: Io, format: Format, error: unknown): number {
  const { code, message, fix } = errorReport(error);
  const log = verifierLog(error);
  if (format === 'json') {
    io.err(`${compactJson({ error: { code, message, fix, ...(log === undefined ? {} : { log }) } })}\n`);
  } else {
    io.err(
      `${dress('error:', 'bad', io.colour.err)} ${printable(message)} [${code}]\nfix: ${printable(fix)}\n`,
    );
    if (log !== undefined) io.err(lastLines(log));
  }
  if (debugging(io) && error instanceof Error) io.err(`${error.stack}\n${causes(error)}`);
  return error instanceof ShuntError && error.code === 'SHUNT_E_USAGE' ? EXIT.usage : EXIT.failed;
}

function debugging(io: Io): boolean {
  return io.env.SHUNT_DEBUG !== undefined && io.env.SHUNT_DEBUG !== '' && io.env.SHUNT_DEBUG !== '0';
}

function causes(error: Error): string {
  let text = '';
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
    text += `caused by: ${cause.stack}\n`;
  return text;
}

/**
 * The kernel's verifier log, which a BpfError somewhere among the causes keeps whole. Seen by its shape: importing
 * libbpf-ts costs start-up time.
 */
function verifierLog(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (!('log' in at) || typeof at.log !== 'object' || at.log === null) continue;
    if (!('full' in at.log) || typeof at.log.full !== 'string') continue;
    if (at.log.full.trim() !== '') return at.log.full;
  }
  return undefined;
}

function lastLines(log: string): string {
  const lines = log.trimEnd().split('\n');
  const shown = lines.slice(-LOG_LINES);
  const omitted = lines.length - shown.length;
  const head =
    omitted === 0 ? 'verifier log:' : `verifier log (${omitted} lines before these; all with -o json):`;
  return `${head}\n${shown.map((line) => `  ${printable(line)}\n`).join('')}`;
}
