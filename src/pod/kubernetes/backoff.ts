/** Waits between attempts, in milliseconds. */
export interface BackoffLimits {
  shortestMs: number;
  longestMs: number;
}

export const DEFAULT_BACKOFF: BackoffLimits = { shortestMs: 800, longestMs: 30_000 };

/**
 * Decorrelated jitter: each wait is drawn between the shortest and three times the one before, so that the agents of
 * thousands of nodes that lost their server together do not come back together.
 */
export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #lastMs: number;

  /** @param random in [0, 1) */
  constructor(limits: BackoffLimits = DEFAULT_BACKOFF, random: () => number = Math.random) {
    this.#limits = limits;
    this.#random = random;
    this.#lastMs = limits.shortestMs;
  }

  /**
   * The next wait.
   *
   * @param atLeastMs what the server asked for; up to a tenth is added, since it asked everybody
   */
  next(atLeastMs = 0): number {
    const { shortestMs, longestMs } = this.#limits;
    const drawn = shortestMs + this.#random() * (3 * this.#lastMs - shortestMs);
    this.#lastMs = Math.min(longestMs, drawn);
    return Math.max(this.#lastMs, atLeastMs * (1 + this.#random() / 10));
  }

  /** After something went well. */
  reset(): void {
    this.#lastMs = this.#limits.shortestMs;
  }
}
