/** Acceleration: its switch, the sk_msg attachment, and the iterator that promotes connections proven fit. */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { BpfError, type BpfMap } from 'libbpf-ts';
import type { AccelerationState, CanaryItem } from '../interface.ts';
import { type CanaryVerdict, runCanary } from './canary.ts';
import { type Settings, SettingsFlags } from './gen/objects.ts';
import type { Objects } from './objects.ts';
import { type Acceleration, KERNEL_BTF, startAcceleration } from './self_test.ts';
import { WalkPace } from './walk_pace.ts';

/** Until the next try after a walk that failed. */
const RETRY_MS = 250;
/**
 * Redirected bytes that may wait unread at one end. Past it the sender goes over to TCP, which some readers take badly
 * (docs/acceleration.md), so it is as much as a stalled reader may cost beside TCP's own buffers.
 */
export const BACKLOG_BYTES = 512 * 1024;
/** The same at all ends of a pod, which divide it among them: from 65 promoted sockets on each has less. */
export const POD_BACKLOG_BYTES = 64 * BACKLOG_BYTES;
const MIN_AGE_NS = 100_000_000n;
/** What the gate goes by; the canary tries the same. */
export const TUNING = {
  backlog_bytes: BACKLOG_BYTES,
  pod_backlog_bytes: POD_BACKLOG_BYTES,
  max_message_bytes: 64 * 1024,
};

export class Accelerator implements Disposable {
  readonly #settings: BpfMap<number, Settings>;
  readonly #running: Acceleration | null;
  readonly #verdict: CanaryVerdict | null;
  #reason: string;
  #round: number;

  private constructor(
    settings: BpfMap<number, Settings>,
    running: Acceleration | null,
    reason: string,
    verdict: CanaryVerdict | null,
  ) {
    this.#settings = settings;
    this.#running = running;
    this.#reason = reason;
    this.#verdict = verdict;
    // Goes on where an earlier agent stopped: flows remember rounds.
    this.#round = settings.get(0)?.round ?? 0;
  }

  /**
   * Loads and attaches what acceleration needs, once the canary has passed. Where the kernel cannot, it stays off and
   * says why: redirection does not depend on it.
   *
   * @param options.hindrance why not even to try; null for none
   * @param options.objectDirectory where the canary takes the same programs from
   * @param options.wanted what the operator asked for
   */
  static async start(
    settings: BpfMap<number, Settings>,
    objects: Objects,
    options: { hindrance: string | null; objectDirectory: string; wanted: boolean },
  ): Promise<Accelerator> {
    const verdict = options.hindrance ?? (await canary(options.objectDirectory));
    const failed = typeof verdict === 'string' ? verdict : canaryFault(verdict);
    const running = failed ?? (await startAcceleration(objects));
    const known = typeof verdict === 'string' ? null : verdict;
    if (typeof running === 'string') {
      const accelerator = new Accelerator(settings, null, running, known);
      accelerator.#write(false);
      return accelerator;
    }
    const accelerator = new Accelerator(settings, running, '', known);
    accelerator.set(options.wanted);
    return accelerator;
  }

  /** Why it cannot be switched on here; null when it can. */
  get fault(): string | null {
    return this.#running === null ? this.#reason : null;
  }

  /** @param enabled the kill switch; false takes effect on the next message of every connection */
  set(enabled: boolean): void {
    if (this.#running === null) return;
    this.#write(enabled);
    this.#reason = enabled ? this.#described() : 'switched off';
  }

  state(): AccelerationState {
    const canary = this.#verdict?.items;
    return { enabled: this.#enabled(), reason: this.#reason, ...(canary === undefined ? {} : { canary }) };
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
    const pace = new WalkPace();
    while (!signal.aborted && this.#running !== null) {
      try {
        const start = performance.now();
        const marks = this.#enabled() ? await this.promote() : '';
        await delay(pace.after(marks, performance.now() - start), undefined, { signal });
      } catch (error) {
        if (signal.aborted) return;
        const failure = error instanceof Error ? error : new Error(String(error));
        if (!told.has(failure.message)) onError(failure);
        told.add(failure.message);
        if (!(error instanceof BpfError)) throw error;
        await delay(RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** One walk over all connections; gives its marks, none where nobody is accelerated or may soon be. */
  async promote(): Promise<string> {
    if (this.#running === null) return '';
    this.#round = (this.#round + 1) >>> 0;
    this.#write(true);
    return await this.#running.iterator.readIter();
  }

  [Symbol.dispose](): void {
    this.#running?.[Symbol.dispose]();
  }

  #described(): string {
    const what = 'request/response connections between non-blocking sockets';
    if (this.#verdict === null || this.#verdict.applications) return what;
    const why = told(this.#verdict.items, 'applications');
    return `${what} of sidecars; not of applications, since ${why} (shunt.dev/acceleration: full adds them)`;
  }

  #enabled(): boolean {
    return ((this.#settings.get(0)?.flags ?? 0) & SettingsFlags.SETTINGS_ACCEL) !== 0;
  }

  #write(enabled: boolean): void {
    const { SETTINGS_ACCEL, SETTINGS_ACCEL_APPS, SETTINGS_PEER_SEQ } = SettingsFlags;
    this.#settings.set(0, {
      ...TUNING,
      flags:
        (enabled ? SETTINGS_ACCEL : 0) |
        (this.#verdict?.applications === true ? SETTINGS_ACCEL_APPS : 0) |
        (this.#verdict?.peerSeq === true ? SETTINGS_PEER_SEQ : 0),
      min_age_ns: MIN_AGE_NS,
      round: this.#round,
    });
  }
}

/** @returns why it could not be asked, in place of what it found */
async function canary(objectDirectory: string): Promise<CanaryVerdict | string> {
  if (!existsSync(KERNEL_BTF)) return `the kernel has no BTF at ${KERNEL_BTF}`;
  try {
    return await runCanary(objectDirectory, TUNING);
  } catch (error) {
    return `its programs do not load here: ${error instanceof Error ? error.message.split('\n')[0] : error}`;
  }
}

function canaryFault(verdict: CanaryVerdict): string | null {
  return verdict.sidecars ? null : `the canary failed: ${told(verdict.items, 'all')}`;
}

function told(items: readonly CanaryItem[], needed: CanaryItem['needed']): string {
  return items
    .flatMap((item) => (item.needed === needed && item.fault !== null ? [`${item.name}: ${item.fault}`] : []))
    .join('; ');
}
