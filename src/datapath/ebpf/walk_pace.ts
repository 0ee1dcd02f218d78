/** How long lies between two walks over all connections: little while some are about to change, and never much work. */

/** While a connection is young, or about to enter or to leave. */
const PERIOD_MS = 250;
/** While none is. */
const IDLE_PERIOD_MS = 1000;
/** So many times what a walk costs lies between two: a twentieth of one CPU at most. */
const SHARE = 20;
/** While nobody is accelerated nor about to be: a two-hundred-and-fiftieth, since the agent is to idle on a two-hundredth in all. */
const IDLE_SHARE = 250;
/** What the iterator writes for a socket that the next walk should see soon (bpf/accelerate.bpf.c). */
const MARK_SOON = '.';
/** A walk costs what the quickest of so many took: the others waited for a CPU. */
const REMEMBERED = 4;

export class WalkPace {
  readonly #tookMs: number[] = [];

  /**
   * @param marks what the walk wrote; nothing where nobody is accelerated or about to be
   * @param tookMs the walk, on the clock
   * @returns milliseconds until the next one
   */
  after(marks: string, tookMs: number): number {
    this.#tookMs.push(tookMs);
    if (this.#tookMs.length > REMEMBERED) this.#tookMs.shift();
    const costMs = Math.min(...this.#tookMs);
    return Math.max(
      marks.includes(MARK_SOON) ? PERIOD_MS : IDLE_PERIOD_MS,
      (marks === '' ? IDLE_SHARE : SHARE) * costMs,
    );
  }
}
