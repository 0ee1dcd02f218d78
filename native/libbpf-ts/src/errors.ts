import { constants } from 'node:os';
import { hintFor } from './hints.ts';

/** ENOTSUPP: internal to the kernel, no errno.h has it, and map operations return it all the same. */
const ENOTSUPP = 524;

const NAMES = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) {
  if (!NAMES.has(value)) NAMES.set(value, name);
}
// Three spellings of "not supported" reach a caller of bpf(2); one name is enough to test for.
NAMES.set(constants.errno.EOPNOTSUPP, 'ENOTSUP');
NAMES.set(ENOTSUPP, 'ENOTSUP');
// enum libbpf_errno, from 4000 on.
for (const [index, name] of [
  'LIBELF',
  'FORMAT',
  'KVERSION',
  'ENDIAN',
  'INTERNAL',
  'RELOC',
  'LOAD',
  'VERIFY',
  'PROG2BIG',
  'KVER',
  'PROGTYPE',
  'WRNGPID',
  'INVSEQ',
  'NLPARSE',
].entries()) {
  NAMES.set(4000 + index, `LIBBPF_${name}`);
}

/** 'EPERM' for 1. Accepts either sign. */
export function errnoName(errno: number): string {
  const positive = Math.abs(errno);
  return NAMES.get(positive) ?? `ERRNO_${positive}`;
}

/** Errors that no errno names. */
export type OwnCode = 'LIBBPF_MISSING' | 'LIBBPF_TOO_OLD' | 'BAD_VALUE' | 'CLOSED' | 'ENOTSUP' | 'ENOENT';

/** What the verifier said. The message of an error quotes its last line; all of it is here. */
export class VerifierLog {
  readonly full: string;

  constructor(text: string) {
    this.full = text;
  }

  lines(): string[] {
    return this.full.split('\n').filter((line) => line.trim() !== '');
  }

  /** The last `n` lines, joined by newlines. */
  tail(n: number): string {
    return this.lines().slice(-n).join('\n');
  }

  /** The line that names the fault: the last one that is not one of the verifier's statistics. */
  verdict(): string | undefined {
    return this.lines().findLast(
      (line) => !/^(processed \d+ insns|verification time|stack depth|-- (BEGIN|END) )/.test(line),
    );
  }
}

/** Both shapes of a map that stands in a pin's place. */
export interface MapMismatch {
  path: string;
  expected: string;
  found: string;
}

export interface BpfErrorOptions {
  /** Name of the errno, or one of {@link OwnCode}. */
  code: string;
  errno?: number | undefined;
  /** The operation, a verb first: 'load', 'attach', 'update', 'pin'. */
  op: string;
  /** What it was done to: 'program connect4', 'map pods'. */
  target?: string | undefined;
  /** What went wrong, when the code alone does not say it. */
  detail?: string | undefined;
  hint?: string | undefined;
  log?: VerifierLog | undefined;
  mismatch?: MapMismatch | undefined;
  messages?: readonly string[] | undefined;
  cause?: unknown;
}

/**
 * The one error of this package. `message` is a single line; `hint` says what to do; a load that the verifier
 * refused carries `log`.
 */
export class BpfError extends Error {
  readonly code: string;
  readonly errno: number | undefined;
  readonly op: string;
  readonly target: string | undefined;
  readonly hint: string | undefined;
  readonly log: VerifierLog | undefined;
  /** Set when a load failed because a pinned map has another shape. */
  readonly mismatch: MapMismatch | undefined;
  /** What libbpf printed during an open or load, line by line; empty for everything else. */
  readonly messages: readonly string[];

  constructor(options: BpfErrorOptions) {
    const { op, target, code, detail } = options;
    const where = target === undefined ? op : `${op} ${target}`;
    super(detail === undefined ? `${where}: ${code}` : `${where}: ${code}: ${detail}`, {
      cause: options.cause,
    });
    this.name = 'BpfError';
    this.code = code;
    this.errno = options.errno === undefined ? undefined : Math.abs(options.errno);
    this.op = op;
    this.target = target;
    this.hint = options.hint ?? hintFor(where, code);
    this.log = options.log;
    this.mismatch = options.mismatch;
    this.messages = options.messages ?? [];
  }
}

/** The error for a negative return value of libbpf or a positive errno. */
export function errnoError(
  result: number,
  op: string,
  target?: string,
  more: Omit<BpfErrorOptions, 'code' | 'op' | 'target' | 'errno'> = {},
): BpfError {
  return new BpfError({ ...more, code: errnoName(result), errno: result, op, target });
}

/** The error for a value that cannot be written as its C type. */
export function badValue(detail: string, target?: string, hint?: string): BpfError {
  return new BpfError({ code: 'BAD_VALUE', op: 'encode', target, detail, hint });
}

/**
 * Throws unless `result` is zero or positive.
 * @returns `result`
 */
export function check(result: number, op: string, target?: string): number {
  if (result < 0) throw errnoError(result, op, target);
  return result;
}
