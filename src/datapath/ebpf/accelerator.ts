/** Acceleration: its switch, the sk_msg attachment, and the iterator that promotes connections proven fit. */
import { setTimeout as delay } from 'node:timers/promises';
import { BpfError, type BpfMap } from 'libbpf-ts';
import type { AccelerationState } from '../interface.ts';
import { type Settings, SettingsFlags } from './gen/objects.ts';
import type { Acceleration } from './self_test.ts';

/** A few times a second while anything may be promoted. */
const PERIOD_MS = 250;

/** First values; the benchmarks of the acceleration judge them. */
const BACKLOG_BYTES = 256 * 1024;
const MIN_AGE_NS = 100_000_000n;
const MAX_MESSAGE_BYTES = 64 * 1024;

export class Accelerator implements Disposable {
  readonly #settings: BpfMap<number, Settings>;
  readonly #running: Acceleration | null;
  #reason: string;
  #round = 0;

  /**
   * @param running what acceleration runs by, owned from here on; else why there is none: redirection does not depend
   *   on it
   * @param wanted what the operator asked for
   */
  constructor(settings: BpfMap<number, Settings>, running: Acceleration | string, wanted: boolean) {
    this.#settings = settings;
    this.#running = typeof running === 'string' ? null : running;
    this.#reason = typeof running === 'string' ? running : '';
    if (this.#running === null) this.#write(false);
    else this.set(wanted);
  }

  /** @param enabled the kill switch; false takes effect on the next message of every connection */
  set(enabled: boolean): void {
    if (this.#running === null) return;
    this.#write(enabled);
    this.#reason = enabled ? 'request/response connections between non-blocking sockets' : 'switched off';
  }

  state(): AccelerationState {
    return { enabled: this.#enabled(), reason: this.#reason };
  }

  /** Connections promoted at this moment. */
  promoted(): number {
    return this.#running === null ? 0 : this.#running.object.maps.shunt_socks.size();
  }

  /**
   * Runs the iterator until the signal, and reports what keeps it from running.
   *
   * @param onError told at most once for each different message
   */
  async run(signal: AbortSignal, onError: (error: Error) => void): Promise<void> {
    const told = new Set<string>();
    while (!signal.aborted && this.#running !== null) {
      try {
        if (this.#enabled()) await this.promote();
        await delay(PERIOD_MS, undefined, { signal });
      } catch (error) {
        if (signal.aborted) return;
        const failure = error instanceof Error ? error : new Error(String(error));
        if (!told.has(failure.message)) onError(failure);
        told.add(failure.message);
        if (!(error instanceof BpfError)) throw error;
        await delay(PERIOD_MS, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** One walk over all connections. */
  async promote(): Promise<void> {
    if (this.#running === null) return;
    this.#round = (this.#round + 1) >>> 0;
    this.#write(true);
    await this.#running.iterator.readIter();
  }

  [Symbol.dispose](): void {
    this.#running?.[Symbol.dispose]();
  }

  #enabled(): boolean {
    return ((this.#settings.get(0)?.flags ?? 0) & SettingsFlags.SETTINGS_ACCEL) !== 0;
  }

  #write(enabled: boolean): void {
    this.#settings.set(0, {
      flags: enabled ? SettingsFlags.SETTINGS_ACCEL : 0,
      backlog_bytes: BACKLOG_BYTES,
      min_age_ns: MIN_AGE_NS,
      max_message_bytes: MAX_MESSAGE_BYTES,
      round: this.#round,
    });
  }
}
