import type { Io } from '../io.ts';

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type Name = keyof typeof SIGNALS;

/**
 * Ctrl-C and SIGTERM as an abort, so that everything is taken down in order. A second one is only answered; a third
 * ends the process, which still sweeps the test bed.
 */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #io: Io;
  #times = 0;
  #code = 0;

  constructor(io: Io) {
    this.#io = io;
    for (const name of Object.keys(SIGNALS)) process.on(name, this.#interrupt);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128 and the signal's number, as shells say; 0 when there was none. */
  get exitCode(): number {
    return this.#code;
  }

  readonly #interrupt = (name: NodeJS.Signals): void => {
    this.#times++;
    this.#code = 128 + SIGNALS[name as Name];
    if (this.#times === 1) {
      this.#io.note('ending: taking down what was built');
      this.#controller.abort();
    } else if (this.#times === 2) {
      this.#io.note('still taking it down; once more to give up');
    } else {
      process.exit(this.#code);
    }
  };

  [Symbol.dispose](): void {
    for (const name of Object.keys(SIGNALS)) process.off(name, this.#interrupt);
  }
}

/** Time for a step under way to notice the abort: steps take well under a second, or watch the signal. */
const SETTLE_MS = 3_000;

/**
 * The promise; or, once the signal aborts, a rejection with its reason. It first lets the step under way come to an
 * end, so that nothing is started while everything is taken down.
 */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let give = (): void => {};
  const givenUp = new Promise<void>((resolve) => {
    give = resolve;
  });
  const abort = (): void => void setTimeout(give, SETTLE_MS).unref();
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    const result = await Promise.race([promise, givenUp]);
    signal.throwIfAborted();
    return result as T;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
