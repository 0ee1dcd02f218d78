/**
 * Aborts on SIGINT and SIGTERM, so that work can end in order; a second one ends the process the usual way.
 */
export class StopSignal implements Disposable {
  readonly #controller = new AbortController();
  readonly #stop = (): void => {
    this.#controller.abort();
    this[Symbol.dispose]();
  };

  constructor() {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, this.#stop);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, this.#stop);
  }
}
