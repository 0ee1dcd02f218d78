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

/** How many times slower than a machine of its own this one is: an emulated one sets it. A deadline tells a fault from a wait. */
const PATIENCE = Math.max(1, Number(process.env.SHUNT_LAB_PATIENCE ?? '1') || 1);

/** @param ms on a machine that has nothing else to do */
export function patient(ms: number): number {
  return ms * PATIENCE;
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
  const limitMs = patient(timeoutMs);
  const end = performance.now() + limitMs;
  for (;;) {
    signal?.throwIfAborted();
    const seen = await look();
    if (seen !== undefined) return seen;
    if (performance.now() > end) {
      throw new ShuntError('SHUNT_E_LAB_TIMEOUT', `waited ${limitMs / 1000} s for ${what}`);
    }
    await delay(everyMs, undefined, signal === undefined ? undefined : { signal });
  }
}
