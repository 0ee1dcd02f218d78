import { constants } from 'node:os';

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

const CAPABILITIES =
  'run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (kernels before 5.8: CAP_SYS_ADMIN)';

const OBJECT_HINT = 'is it an object of `clang -O2 -g -target bpf -c`? -g is needed for BTF';

/** What to do, by operation and errno name. The first row whose operation matches wins. */
const HINTS: readonly { op: RegExp; code: string; hint: string }[] = [
  {
    op: /^pin/,
    code: 'EPERM',
    hint: 'pins live on bpffs only: mount -t bpf bpf /sys/fs/bpf, and pin below that mount',
  },
  {
    op: /^pin/,
    code: 'ENOENT',
    hint: 'the directory is missing; is bpffs mounted? mount -t bpf bpf /sys/fs/bpf',
  },
  {
    op: /^pin/,
    code: 'EEXIST',
    hint: 'something is pinned there already: open it with fromPin, or remove the file first',
  },
  { op: /^open pin/, code: 'EACCES', hint: 'the file is not on bpffs, or it pins something else' },
  {
    op: /^list|by id$/,
    code: 'EPERM',
    hint: 'reading objects by id needs CAP_SYS_ADMIN (CAP_BPF is not enough)',
  },
  { op: /^load/, code: 'EPERM', hint: `${CAPABILITIES}; on kernels before 5.11 also raise RLIMIT_MEMLOCK` },
  { op: /./, code: 'EPERM', hint: CAPABILITIES },
  {
    op: /^load/,
    code: 'EACCES',
    hint: 'the verifier refused the program: error.log has its reasoning, the last line names the fault',
  },
  {
    op: /^load/,
    code: 'E2BIG',
    hint: 'the program or its verification exceeds a kernel limit (1 million instructions visited since 5.2, 4096 before): split it or bound its loops',
  },
  {
    op: /^load/,
    code: 'ENOSPC',
    hint: 'the verifier log outgrew its buffer; the program was refused for another reason that the log starts with',
  },
  {
    op: /^load/,
    code: 'ENOENT',
    hint: 'a kernel type, symbol or pin directory that the object needs is missing; is bpffs mounted, and /sys/kernel/btf/vmlinux there?',
  },
  {
    op: /^load/,
    code: 'ESRCH',
    hint: 'this kernel has no type or symbol of that name: it is older than the program, or built without the option',
  },
  {
    op: /^load/,
    code: 'EINVAL',
    hint: 'this kernel does not know the program or map type, a helper or a flag; features.probe() tells which',
  },
  {
    op: /^load/,
    code: 'ENOMEM',
    hint: 'not enough memory for the maps: lower maxEntries or raise the memory limit of the cgroup',
  },
  {
    op: /^attach/,
    code: 'EINVAL',
    hint: 'the program does not fit this target: cgroup programs want a cgroup v2 directory, and the attach type of their section',
  },
  {
    op: /^attach/,
    code: 'EBADF',
    hint: 'the target is not a cgroup v2 directory or the descriptor is closed',
  },
  {
    op: /^attach/,
    code: 'E2BIG',
    hint: 'the hook is full (64 programs for a cgroup or netns, a kernel limit)',
  },
  { op: /^attach/, code: 'EEXIST', hint: 'another program holds this hook exclusively' },
  { op: /^attach|^update link/, code: 'ENOLINK', hint: 'what the link was attached to is gone' },
  {
    op: /^update link/,
    code: 'EINVAL',
    hint: 'the new program must have the type and attach type of the one it replaces',
  },
  { op: /^update|^set/, code: 'E2BIG', hint: 'the map is full, or the index is beyond maxEntries' },
  { op: /^update|^set/, code: 'ENOSPC', hint: 'the map is full: raise maxEntries before load' },
  { op: /^update|^set/, code: 'EEXIST', hint: "the key is there already and the flag was 'noexist'" },
  { op: /^update|^set/, code: 'ENOENT', hint: "the key is not there and the flag was 'exist'" },
  {
    op: /^update|^set/,
    code: 'ENOMEM',
    hint: 'the kernel could not allocate the entry; is the memory limit of the cgroup reached?',
  },
  { op: /^open/, code: 'LIBBPF_LIBELF', hint: OBJECT_HINT },
  { op: /^open/, code: 'LIBBPF_FORMAT', hint: OBJECT_HINT },
  { op: /^open object/, code: 'EINVAL', hint: OBJECT_HINT },
  { op: /^open/, code: 'LIBBPF_ENDIAN', hint: 'compile it for this byte order: -target bpfel or bpfeb' },
  { op: /./, code: 'EMFILE', hint: 'too many open files: close maps and links, or raise RLIMIT_NOFILE' },
];

/** The hint for an operation that failed so, or undefined. */
export function hintFor(op: string, code: string): string | undefined {
  return HINTS.find((row) => row.code === code && row.op.test(op))?.hint;
}

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
    this.hint = options.hint ?? hintFor(op, code);
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
