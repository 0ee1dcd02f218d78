/**
 * Instances of the inbound program, loaded before a pod asks for one: the verifier takes milliseconds, and a pod that
 * starts should not wait for it.
 */

/** As many as start at once on a busy node, more or less; each is a program of some 10 KB. */
const READY = 8;
/** Before each that is loaded: whoever took one has more to do at once, and others come behind. */
const PAUSE_MS = 5;

export class InboundPool<T extends Disposable> implements Disposable {
  readonly #load: () => Promise<T>;
  readonly #ready: T[] = [];
  #timer: NodeJS.Timeout | null = null;
  #isDisposed = false;

  /** @param load gives one that nobody has */
  constructor(load: () => Promise<T>) {
    this.#load = load;
    this.#refillSoon();
  }

  /** One that is the caller's from here on, at once where there is one. @throws what `load` throws */
  async take(): Promise<T> {
    const one = this.#ready.shift() ?? (await this.#load());
    this.#refillSoon();
    return one;
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const one of this.#ready.splice(0)) one[Symbol.dispose]();
  }

  #refillSoon(): void {
    if (this.#timer !== null || this.#isDisposed || this.#ready.length >= READY) return;
    this.#timer = setTimeout(() => void this.#refill(), PAUSE_MS).unref();
  }

  async #refill(): Promise<void> {
    let isMissing = false;
    try {
      const one = await this.#load();
      if (this.#isDisposed) one[Symbol.dispose]();
      else isMissing = this.#ready.push(one) < READY;
    } catch {
      // Whoever needs one loads it, and hears why that fails.
    }
    this.#timer = null;
    if (isMissing) this.#refillSoon();
  }
}
