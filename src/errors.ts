/**
 * The one catalogue of errors. A code is stable: scripts and alerts may match on it.
 * `what` says what happened, `fix` what to do about it; docs/errors.md is made from this table.
 */
export const ERRORS = {
  SHUNT_E_NOT_ROOT: {
    what: 'this needs root',
    fix: 'run it with sudo, or give the process CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN',
  },
  SHUNT_E_USAGE: { what: 'the command line is wrong', fix: 'see `shunt help`' },
  SHUNT_E_AGENT_RUNNING: {
    what: 'another agent holds these pins',
    fix: 'stop it first, or give this one its own --bpffs and --socket',
  },
  SHUNT_E_AGENT_DOWN: {
    what: 'no agent answers on the socket',
    fix: 'start `shunt agent`, or name its socket with --socket',
  },
  SHUNT_E_SOCKET: {
    what: 'the agent cannot listen on this socket path',
    fix: 'name another path with --socket, or remove what stands there',
  },
  SHUNT_E_AGENT_SLOW: {
    what: 'the agent did not answer in time',
    fix: 'see its log for what it is doing, then try again',
  },
  SHUNT_E_AGENT_STAYS: {
    what: 'the agent was asked to stop and still holds its lock',
    fix: 'stop it (its pid is in `shunt status`), then run `shunt cleanup` again',
  },
  SHUNT_E_API_REQUEST: {
    what: 'the agent does not take this request',
    fix: 'use the same version of shunt for the agent and the command line',
  },
  SHUNT_E_API_ANSWER: {
    what: 'the agent answered in a form that is not known here',
    fix: 'use the same version of shunt for the agent and the command line',
  },
  SHUNT_E_CGROUP_REQUIRED: {
    what: 'there is no kubepods cgroup on this machine, so the cgroup of the pods must be named',
    fix: 'name it with --cgroup: the cgroup2 directory above all pods, never the root',
  },
  SHUNT_E_PINS_MISSING: {
    what: 'nothing of Shunt is pinned here',
    fix: 'start `shunt agent`, or name the BPF file system it uses with --bpffs',
  },
  SHUNT_E_MAP_UNKNOWN: {
    what: 'there is no such map',
    fix: '`shunt map list` shows the maps',
  },
  SHUNT_E_MAP_KEY: {
    what: 'this is not a key of the map',
    fix: 'give a number, a JSON object in the form that `shunt map dump -o json` prints, or hex bytes (0x…)',
  },
  SHUNT_E_MAP_NO_ENTRY: {
    what: 'the map has no entry under this key',
    fix: '`shunt map dump MAP` shows its entries',
  },
  SHUNT_E_POD_UNKNOWN: {
    what: 'no such pod is known on this node',
    fix: '`shunt pod list` shows the pods',
  },
  SHUNT_E_FILE: {
    what: 'the file cannot be read',
    fix: 'check its path and its permissions',
  },
  SHUNT_E_CLEANUP_LEFT: {
    what: 'something of Shunt is left in the kernel',
    fix: 'run `shunt cleanup`; what stays is held by a running process: stop it first',
  },
  SHUNT_E_SYSTEM: {
    what: 'the system refused an operation',
    fix: 'run `shunt doctor`: it checks every prerequisite and names a fix for each',
  },
  SHUNT_E_INTERNAL: {
    what: 'a fault in Shunt itself',
    fix: 'run it again with SHUNT_DEBUG=1 and report the stack that it prints',
  },
} as const satisfies Record<`SHUNT_E_${string}`, { what: string; fix: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** An error a user can act on: a stable code, one sentence of what happened here, and what to do. */
export class ShuntError extends Error {
  readonly code: ErrorCode;
  /** What to do, in one sentence. */
  readonly fix: string;
  /** What it happened to: a file, a pod, a map. */
  readonly target: string | undefined;

  /**
   * @param code entry of the catalogue
   * @param detail what happened here, without the target's name
   * @param options `target` names the object; `fix` replaces the catalogue's; `cause` is kept
   */
  constructor(
    code: ErrorCode,
    detail?: string,
    options: { target?: string; fix?: string; cause?: unknown } = {},
  ) {
    const head = detail ?? ERRORS[code].what;
    super(options.target === undefined ? head : `${options.target}: ${head}`, { cause: options.cause });
    this.name = 'ShuntError';
    this.code = code;
    this.fix = options.fix ?? ERRORS[code].fix;
    this.target = options.target;
  }

  toJSON(): { code: ErrorCode; message: string; fix: string; target?: string } {
    return {
      code: this.code,
      message: this.message,
      fix: this.fix,
      ...(this.target === undefined ? {} : { target: this.target }),
    };
  }
}

/**
 * Any failure as code, message and fix: ours as it stands, a system or libbpf error (which carry a `code` and,
 * libbpf's, a `hint`) in its own words, everything else as a fault of Shunt.
 */
export function errorReport(error: unknown): { code: string; message: string; fix: string } {
  if (error instanceof ShuntError) return { code: error.code, message: error.message, fix: error.fix };
  if (!(error instanceof Error))
    return { code: 'SHUNT_E_INTERNAL', message: String(error), fix: ERRORS.SHUNT_E_INTERNAL.fix };
  const message = error.message.replace(/\s+/g, ' ').trim();
  if (error.name === 'BpfError' || 'syscall' in error) {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : 'SHUNT_E_SYSTEM';
    const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
    return { code, message, fix: hint ?? ERRORS.SHUNT_E_SYSTEM.fix };
  }
  return { code: 'SHUNT_E_INTERNAL', message: message || error.name, fix: ERRORS.SHUNT_E_INTERNAL.fix };
}
