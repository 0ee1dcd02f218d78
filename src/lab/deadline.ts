import { setTimeout as delay } from 'node:timers/promises';
import { ShuntError } from '../errors.ts';

export interface DeadlineOptions {
  /** What is awaited, as the end of "waited N s for …". */
  what: string;
  timeoutMs?: number;
  /** Pause between two looks; the kernel and the proxies give no event for most of these. */
  everyMs?: number;
  signal?: AbortSignal | undefined;
}

/**
 * Looks again and again until `look` gives something other than undefined.
 *
 * @throws SHUNT_E_LAB_TIMEOUT past the deadline (10 s unless told); what `look` throws ends the wait at once
 */
export async function until<T>(
  look: () => T | undefined | Promise<T | undefined>,
  { what, timeoutMs = 10_000, everyMs = 10, signal }: DeadlineOptions,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const seen = await look();
    if (seen !== undefined) return seen;
    if (performance.now() > end) {
      throw new ShuntError('SHUNT_E_LAB_TIMEOUT', `waited ${timeoutMs / 1000} s for ${what}`);
    }
    await delay(everyMs, undefined, signal === undefined ? undefined : { signal });
  }
}
