/**
 * What the probes are told. An event loop that is stuck answers nothing, which a probe takes as failed by its own
 * time-out; a pass that hangs beside a living loop is told here.
 */
export interface HealthOptions {
  /** A pass that runs longer is stuck. 500 pods on iptables take some seconds. */
  stuckAfterMs?: number;
  /** Passes are begun at least this often. */
  intervalMs: number;
  /** Clock, monotonic. */
  nowMs?: () => number;
}

const STUCK_AFTER_MS = 120_000;

export class Health {
  readonly #stuckAfterMs: number;
  readonly #intervalMs: number;
  readonly #nowMs: () => number;
  #started = false;
  #reconciled = false;
  #ending = false;
  #runningSinceMs: number | null = null;
  #lastEndMs: number | null = null;

  constructor(options: HealthOptions) {
    this.#stuckAfterMs = options.stuckAfterMs ?? STUCK_AFTER_MS;
    this.#intervalMs = options.intervalMs;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  /** The data plane is loaded, or adopted. */
  started(): void {
    this.#started = true;
  }

  passBegan(): void {
    this.#runningSinceMs = this.#nowMs();
  }

  /** @param whole false when it ended with an error before every pod was looked at */
  passEnded(whole: boolean): void {
    this.#runningSinceMs = null;
    this.#lastEndMs = this.#nowMs();
    this.#reconciled ||= whole;
  }

  ending(): void {
    this.#ending = true;
  }

  /** Why a probe is to fail, or null. */
  fault(probe: 'livez' | 'readyz' | 'startupz'): string | null {
    switch (probe) {
      case 'startupz':
        return this.#started ? null : 'the data plane is not loaded yet';
      case 'readyz':
        if (this.#ending) return 'the agent is stopping';
        return this.#reconciled ? null : 'no pass over the pods has ended yet';
      case 'livez':
        return this.#stuck();
    }
  }

  #stuck(): string | null {
    const now = this.#nowMs();
    if (this.#runningSinceMs !== null) {
      const ranMs = now - this.#runningSinceMs;
      if (ranMs > this.#stuckAfterMs) return `a pass over the pods has run for ${seconds(ranMs)}`;
      return null;
    }
    if (this.#lastEndMs === null) return null;
    const idleMs = now - this.#lastEndMs;
    const limitMs = this.#intervalMs + this.#stuckAfterMs;
    return idleMs > limitMs ? `no pass over the pods was begun for ${seconds(idleMs)}` : null;
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
