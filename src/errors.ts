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
  constructor(code: ErrorCode, detail?: string, options: { target?: string; fix?: string; cause?: unknown } = {}) {
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
