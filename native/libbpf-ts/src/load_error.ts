import { closeSync, existsSync } from 'node:fs';
import { BpfError, errnoError, type MapMismatch, type VerifierLog } from './errors.ts';
import { libbpf } from './ffi.ts';
import { mapInfo } from './info.ts';

/** What two maps must agree in for one to stand for the other. */
export interface MapShape {
  type: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
}

function describe(shape: MapShape): string {
  const { type, keySize, valueSize, maxEntries, flags } = shape;
  return `${type} key ${keySize} value ${valueSize} entries ${maxEntries} flags 0x${flags.toString(16)}`;
}

/** Compares a map that is to be made with what is pinned in its place. */
export function mismatchAt(path: string, expected: MapShape): MapMismatch | undefined {
  if (!existsSync(path)) return undefined;
  const fd = libbpf.bpf_obj_get(path);
  if (fd < 0) return undefined; // unreadable: the load error itself says why
  try {
    const found = mapInfo(fd);
    const same =
      found.type === expected.type &&
      found.keySize === expected.keySize &&
      found.valueSize === expected.valueSize &&
      found.maxEntries === expected.maxEntries &&
      found.flags === expected.flags;
    return same ? undefined : { path, expected: describe(expected), found: describe(found) };
  } catch (error) {
    if (error instanceof BpfError) return undefined; // a program or link is pinned there
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Turns what a failed load left behind into one error that names the part that failed. */
export function loadError(failure: {
  result: number;
  object: string;
  verifier: { program: string; log: VerifierLog } | undefined;
  said: readonly string[];
  mismatch: { map: string; difference: MapMismatch } | undefined;
}): BpfError {
  const { result, object, verifier, said, mismatch } = failure;
  if (mismatch !== undefined) {
    const { map, difference } = mismatch;
    return errnoError(result, 'load', `map ${map}`, {
      detail: `the map pinned at ${difference.path} has another shape: found ${difference.found}, expected ${difference.expected}`,
      hint: 'remove the pin, or migrate its entries to a new map before loading',
      mismatch: difference,
      messages: said,
    });
  }
  if (verifier !== undefined) {
    const { program, log } = verifier;
    const others = log.lines().length - 1;
    const verdict = log.verdict() ?? 'no reason given';
    return errnoError(result, 'load', `program ${program}`, {
      detail: others > 0 ? `${verdict} (${others} lines omitted)` : verdict,
      log,
      messages: said,
    });
  }
  const subject = said.map(subjectOf).find((found) => found !== undefined);
  const causes = said.filter((line) => !line.startsWith('failed to load object'));
  const detail = causes.find((line) => subjectOf(line) !== undefined) ?? causes.at(-1);
  return errnoError(result, 'load', subject ?? `object ${object}`, { detail, messages: said });
}

/** libbpf begins its complaints with what they are about. */
function subjectOf(line: string): string | undefined {
  const [, kind, name] = /^(map|prog) '([^']+)': /.exec(line) ?? [];
  if (name === undefined) return undefined;
  return kind === 'map' ? `map ${name}` : `program ${name}`;
}

/** The errno of a failed open, whose NULL result has no room for one. */
export function openError(errno: number, object: string, said: readonly string[]): BpfError {
  return errnoError(errno, 'open object', object, { detail: said.at(-1), messages: said });
}
