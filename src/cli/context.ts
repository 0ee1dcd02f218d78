import { DEFAULT_BPFFS, DEFAULT_SOCKET } from '../agent/api.ts';
import type { Io } from './io.ts';
import { FORMATS, type Format } from './output/writer.ts';

/** What every command gets: where to write and in which form, and where the agent and its pins are. */
export interface Context {
  io: Io;
  format: Format;
  /** The agent's unix socket. */
  socket: string;
  /** The BPF file system; the pins stand in its directory `shunt`. */
  bpffs: string;
}

/**
 * Context of one command: an option, else its environment variable, else the default.
 *
 * @param options of the command line, globals included
 */
export function contextOf(io: Io, options: Record<string, unknown>): Context {
  return {
    io,
    format: FORMATS.find((format) => format === options.output) ?? 'table',
    socket: text(options.socket) ?? text(io.env.SHUNT_SOCKET) ?? DEFAULT_SOCKET,
    bpffs: text(options.bpffs) ?? text(io.env.SHUNT_BPFFS) ?? DEFAULT_BPFFS,
  };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
