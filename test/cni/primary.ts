/**
 * A primary plugin that writes its configuration anew again and again, and looks in between: is our entry there, is the
 * file whole, is what it wrote last still what stands there. Prints what it saw as JSON.
 *
 *   primary.ts FILE MILLISECONDS EVERY_MS
 */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const [file = '', forMs = '', everyMs = ''] = process.argv.slice(2);
const elsewhere = mkdtempSync(join(dirname(dirname(file)), 'primary-'));

const textOf = (serial: number): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [{ type: 'bridge', serial, pad: 'x'.repeat(2_000) }, { type: 'portmap' }],
  });

/** As Calico, Cilium and others do: renamed in the same directory, renamed from another, written in place. */
const WAYS = [
  (text: string) => {
    writeFileSync(`${file}.tmp`, text);
    renameSync(`${file}.tmp`, file);
  },
  (text: string) => {
    writeFileSync(join(elsewhere, 'x'), text);
    renameSync(join(elsewhere, 'x'), file);
  },
  (text: string) => writeFileSync(file, text),
];

const seen = { writes: 0, looks: 0, longestLostMs: 0, corrupted: [] as string[], stale: 0, lostWrites: 0 };
let lostSinceMs: number | null = null;

/** @param isLast right before the next write: what does not stand there by now is lost */
function look(serial: number, isLast: boolean): void {
  seen.looks++;
  const text = readFileSync(file, 'utf8');
  let plugins: { type: string; serial?: number; pad?: string }[];
  try {
    plugins = JSON.parse(text).plugins;
  } catch {
    seen.corrupted.push(text.slice(0, 200));
    return;
  }
  const own = plugins.filter(({ type }) => type === 'shunt-cni').length;
  const [bridge, portmap] = plugins;
  if (own > 1 || bridge?.pad?.length !== 2_000 || portmap?.type !== 'portmap')
    seen.corrupted.push(text.slice(0, 200));
  if (bridge?.serial !== serial) seen[isLast ? 'lostWrites' : 'stale']++;
  if (own === 1) lostSinceMs = null;
  else lostSinceMs ??= performance.now();
  if (lostSinceMs !== null)
    seen.longestLostMs = Math.max(seen.longestLostMs, performance.now() - lostSinceMs);
}

const endMs = performance.now() + Number(forMs);
let serial = 0;
let nextMs = performance.now();
while (performance.now() < endMs) {
  if (performance.now() >= nextMs) {
    if (serial > 0) look(serial, true);
    WAYS[seen.writes++ % WAYS.length]?.(textOf(++serial));
    nextMs += Number(everyMs);
  }
  look(serial, false);
  await delay(1);
}
rmSync(elsewhere, { recursive: true });
process.stdout.write(
  `${JSON.stringify({ ...seen, longestLostMs: Math.round(seen.longestLostMs * 10) / 10 })}\n`,
);
