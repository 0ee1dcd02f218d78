/** The log: one JSON object a line on stdout, bigints as decimal strings, a child logger for each component. */
import { type Logger, pino, stdTimeFunctions } from 'pino';

/**
 * The process's logger. `LOG_LEVEL` sets the level (default info); SIGUSR1 switches debug on and off.
 *
 * @param destination file descriptor; 1 is stdout
 */
export function createLog(destination = 1): Logger {
  const level = process.env.LOG_LEVEL ?? 'info';
  const log = pino(
    {
      level: level in pino.levels.values || level === 'silent' ? level : 'info',
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: withoutBigints },
    },
    // Synchronous: the last line before a crash is the one that is needed.
    pino.destination({ dest: destination, sync: true }),
  );
  process.on('SIGUSR1', () => {
    log.level = log.level === 'debug' ? 'info' : 'debug';
  });
  return log;
}

function withoutBigints(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === 'bigint' ? String(value) : value]),
  );
}

interface Seen {
  untilMs: number;
  held: number;
}

/** Lets the first of equal lines through, then one per interval with the count of those held back. */
export class RepeatLimiter {
  readonly #intervalMs: number;
  readonly #nowMs: () => number;
  readonly #seen = new Map<string, Seen>();

  /**
   * @param intervalMs shortest time between two equal lines
   * @param nowMs clock, monotonic
   */
  constructor(intervalMs = 10_000, nowMs: () => number = () => performance.now()) {
    this.#intervalMs = intervalMs;
    this.#nowMs = nowMs;
  }

  /** Number of equal lines held back since the last that was let through, or null when this one is held back too. */
  admit(key: string): number | null {
    const now = this.#nowMs();
    const seen = this.#seen.get(key);
    if (seen !== undefined && now < seen.untilMs) {
      seen.held++;
      return null;
    }
    this.#forgetOld(now);
    this.#seen.set(key, { untilMs: now + this.#intervalMs, held: 0 });
    return seen?.held ?? 0;
  }

  #forgetOld(now: number): void {
    for (const [key, { untilMs, held }] of this.#seen) if (now >= untilMs && held === 0) this.#seen.delete(key);
  }
}
