/** The log: one JSON object a line on stdout, bigints as decimal strings, a child logger for each component. */
import { type Logger, pino, stdTimeFunctions } from 'pino';

const DEFAULT_LEVEL = 'info';

/**
 * The process's logger. `LOG_LEVEL` sets the level (default info); SIGUSR1 switches debug on and off, for the logger and
 * every child made from it.
 *
 * @param destination file descriptor; 1 is stdout
 */
export function createLog(destination = 1): Logger {
  const wanted = process.env.LOG_LEVEL ?? DEFAULT_LEVEL;
  const known = wanted in pino.levels.values || wanted === 'silent';
  const level = known ? wanted : DEFAULT_LEVEL;
  // A child has a level of its own, taken over when it was made. Held weakly: some live for one request only.
  const children = new Set<WeakRef<Logger>>();
  const log: Logger = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: withoutBigints },
      onChild: (child) => {
        for (const reference of children) if (reference.deref() === undefined) children.delete(reference);
        children.add(new WeakRef(child));
      },
    },
    // Synchronous: the last line before a crash is the one that is needed.
    pino.destination({ dest: destination, sync: true }),
  );
  if (!known) log.warn({ event: 'log-level', value: wanted }, `LOG_LEVEL is no level; ${level} is used`);
  process.on('SIGUSR1', () => {
    const next = toggled(log.level, level);
    for (const reference of children) {
      const child = reference.deref();
      if (child !== undefined) child.level = next;
    }
    log.level = next;
  });
  return log;
}

/** Between debug and the level the process was started with; one that started with debug goes to info and back. */
function toggled(current: string, started: string): string {
  if (current !== 'debug') return 'debug';
  return started === 'debug' ? DEFAULT_LEVEL : started;
}

function withoutBigints(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, withoutBigint(value)]));
}

/** JSON has no integers of 64 bits, and readers round them: cookies and inodes are text. */
function withoutBigint(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return value.map(withoutBigint);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return withoutBigints({ ...value });
}

interface Seen {
  untilMs: number;
  held: number;
}

/** Intervals after which a line that has not come again is forgotten, with the count of those held back. */
const FORGET_INTERVALS = 60;

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

  /** Lines remembered. */
  get size(): number {
    return this.#seen.size;
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
    for (const [key, { untilMs, held }] of this.#seen) {
      const keptMs = held === 0 ? 0 : FORGET_INTERVALS * this.#intervalMs;
      if (now >= untilMs + keptMs) this.#seen.delete(key);
    }
  }
}
