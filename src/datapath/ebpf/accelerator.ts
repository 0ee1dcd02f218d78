/** Acceleration: its switch, the sk_msg attachment, and the iterator that promotes connections proven fit. */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { attachSockmapProgram, BpfError, type BpfMap, Link } from 'libbpf-ts';
import type { AccelerationState } from '../interface.ts';
import { type Settings, SettingsFlags } from './gen/objects.ts';
import type { AccelerateObject, Objects } from './objects.ts';

const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
/** A few times a second while anything may be promoted. */
const PERIOD_MS = 250;

/** First values; the benchmarks of the acceleration judge them. */
const BACKLOG_BYTES = 1024 * 1024;
const MIN_AGE_NS = 100_000_000n;
const MAX_MESSAGE_BYTES = 64 * 1024;

export class Accelerator implements Disposable {
  readonly #settings: BpfMap<number, Settings>;
  readonly #object: AccelerateObject | null;
  readonly #iterator: Link | null;
  #reason: string;
  #round: number;

  private constructor(
    settings: BpfMap<number, Settings>,
    object: AccelerateObject | null,
    iterator: Link | null,
    reason: string,
  ) {
    this.#settings = settings;
    this.#object = object;
    this.#iterator = iterator;
    this.#reason = reason;
    // Goes on where an earlier agent stopped: flows remember rounds.
    this.#round = settings.get(0)?.round ?? 0;
  }

  /**
   * Loads and attaches what acceleration needs. Where the kernel cannot, it stays off and says why: redirection does
   * not depend on it.
   *
   * @param wanted what the operator asked for
   */
  static async start(
    settings: BpfMap<number, Settings>,
    objects: Objects,
    wanted: boolean,
  ): Promise<Accelerator> {
    const off = (reason: string): Accelerator => {
      const accelerator = new Accelerator(settings, null, null, reason);
      accelerator.#write(false);
      return accelerator;
    };
    if (!existsSync(KERNEL_BTF)) return off(`the kernel has no BTF at ${KERNEL_BTF}`);
    let object: AccelerateObject | undefined;
    try {
      object = await objects.loadAccelerate();
      attachSockmapProgram(object.programs.shunt_msg, object.maps.shunt_socks);
      const iterator = Link.attachIter(object.programs.shunt_promote, { map: object.maps.shunt_conns });
      const accelerator = new Accelerator(settings, object, iterator, '');
      accelerator.set(wanted);
      return accelerator;
    } catch (error) {
      object?.[Symbol.dispose]();
      return off(
        `its programs do not load here: ${error instanceof Error ? error.message.split('\n')[0] : error}`,
      );
    }
  }

  /** @param enabled the kill switch; false takes effect on the next message of every connection */
  set(enabled: boolean): void {
    if (this.#object === null) return;
    this.#write(enabled);
    this.#reason = enabled ? 'request/response connections between non-blocking sockets' : 'switched off';
  }

  state(): AccelerationState {
    return { enabled: this.#enabled(), reason: this.#reason };
  }

  /** Connections promoted at this moment. */
  promoted(): number {
    return this.#object === null ? 0 : this.#object.maps.shunt_socks.size();
  }

  /**
   * Runs the iterator until the signal, and reports what keeps it from running.
   *
   * @param onError told at most once for each different message
   */
  async run(signal: AbortSignal, onError: (error: Error) => void): Promise<void> {
    const told = new Set<string>();
    while (!signal.aborted && this.#iterator !== null) {
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
    if (this.#iterator === null) return;
    this.#round = (this.#round + 1) >>> 0;
    this.#write(true);
    await this.#iterator.readIter();
  }

  [Symbol.dispose](): void {
    this.#iterator?.close();
    this.#object?.[Symbol.dispose]();
  }

  #enabled(): boolean {
    return ((this.#settings.get(0)?.flags ?? 0) & SettingsFlags.SETTINGS_ACCEL) !== 0;
  }

  #write(enabled: boolean): void {
    this.#settings.set(0, {
      flags: (enabled ? SettingsFlags.SETTINGS_ACCEL : 0) | SettingsFlags.SETTINGS_PEER_SEQ,
      backlog_bytes: BACKLOG_BYTES,
      min_age_ns: MIN_AGE_NS,
      max_message_bytes: MAX_MESSAGE_BYTES,
      round: this.#round,
    });
  }
}
