import { type FSWatcher, statSync, watch } from 'node:fs';

/** A directory that is gone is looked for this often. */
const MISSING_MS = 1_000;

/**
 * Tells that something in a directory may have changed: after inotify events, once no more come for a moment, and
 * after a long time in any case. What it is, a reader must see for itself.
 */
export class DirectoryAlarm implements Disposable {
  readonly #path: string;
  readonly #debounceMs: number;
  readonly #signal: AbortSignal;
  #watcher: FSWatcher | null = null;
  /** Directory that the watcher sees: a replaced one has another inode and sends it nothing. */
  #watched: string | null = null;
  #ringing = false;
  #wake: (() => void) | null = null;
  #timer: NodeJS.Timeout | undefined;
  #firstChangeMs = 0;
  /** That were reported; null when anything may have changed. */
  #names: Set<string> | null = null;
  readonly #reread: NodeJS.Timeout;

  /** @param options.signal lets go of the directory and ends every wait */
  constructor(path: string, options: { debounceMs: number; rereadMs: number; signal: AbortSignal }) {
    this.#path = path;
    this.#debounceMs = options.debounceMs;
    this.#signal = options.signal;
    this.#watchAgain();
    this.#reread = setInterval(() => {
      // A directory that could not be watched is tried again now and then.
      if (this.#watcher === null) this.#watched = null;
      this.ring();
    }, options.rereadMs);
    // At once, and not when the reader asks again: it may never do so.
    this.#signal.addEventListener('abort', this.#close);
  }

  /**
   * Waits for the next change; changes since the last call count.
   *
   * @returns false when the signal ended the wait
   */
  async next(): Promise<boolean> {
    if (!this.#ringing && !this.#signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
      this.#wake = null;
    }
    this.#ringing = false;
    if (this.#signal.aborted) return false;
    this.#watchAgain();
    return true;
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  readonly #close = (): void => {
    this.#signal.removeEventListener('abort', this.#close);
    clearTimeout(this.#timer);
    clearInterval(this.#reread);
    this.#watcher?.close();
    this.#wake?.();
  };

  /** Ends the wait now, as a change of anything would. */
  ring(): void {
    this.#names = null;
    this.#ringNow();
  }

  /** Names in the directory that have changed since this was last asked; null when any may have. */
  takeNames(): ReadonlySet<string> | null {
    const names = this.#names;
    this.#names = new Set();
    return names;
  }

  #ringNow(): void {
    this.#ringing = true;
    this.#wake?.();
  }

  /**
   * Rings when changes have stopped for a moment: a file half written can look like a shorter one.
   *
   * @param name null when it is not known
   */
  #changed(name: string | null): void {
    if (name === null) this.#names = null;
    else this.#names?.add(name);
    const nowMs = performance.now();
    if (this.#timer === undefined) this.#firstChangeMs = nowMs;
    // But not for ever later where they do not stop.
    const longestMs = this.#firstChangeMs + 10 * this.#debounceMs - nowMs;
    this.#ringIn(Math.max(0, Math.min(this.#debounceMs, longestMs)));
  }

  #ringIn(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#ringNow();
    }, delayMs);
  }

  /** Watches the directory that stands at the path now. */
  #watchAgain(): void {
    const identity = directoryIdentity(this.#path);
    if (identity === null) {
      this.#names = null;
      this.#ringIn(MISSING_MS);
    }
    if (identity === this.#watched) return;
    this.#watcher?.close();
    this.#watcher = null;
    this.#watched = identity;
    if (identity === null) return;
    try {
      this.#watcher = watch(this.#path, (_, name) => this.#changed(name));
      this.#watcher.on('error', () => this.#changed(null));
    } catch {
      // Out of inotify watches (ENOSPC, EMFILE): the slow re-read still notices, only later.
    }
    // What happened between the two directories went unseen.
    this.#changed(null);
  }
}

function directoryIdentity(path: string): string | null {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.dev}:${stat.ino}`;
}
