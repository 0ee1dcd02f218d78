/** What is played, and what of it counts as right. */
import type { SidecarKind } from '../../src/lab/sidecar.ts';
import type { Observations, Part } from './player.ts';

const STEADY = [
  'exchange',
  'edge',
  'blocking',
  'timed-connect',
  'turned',
  'upload',
  'blocking-upload',
  'timed-upload',
  'duplex',
  'slow',
  'edge-slow',
  'stalled',
  'looked-away',
  'half',
  'long-half',
  'unread',
  'reset',
  'sendfile',
  'splice',
  'flags',
] as const;

/** Readers that lose or misread redirected bytes on every kernel tried: why sidecar -> app is off by default. */
const UNFIT_FOR_FULL = ['splice', 'flags'];

/**
 * HAProxy takes a short read that meets the peer's FIN for the end (docs/acceleration.md, Limits): about one in
 * seventy of these ends early under it, and it is accelerated only because its pods say so here. Envoy reads until there is nothing.
 */
const SHORT_READ = 'long-half';

export interface Plan {
  parts: Part[];
  /** Run while something around them is restarted or switched. */
  lasting: Part[];
}

/** @param size connections of each scenario at once; the brief ones are a hundred times as many */
export function planOf(size: number, sidecar: SidecarKind): Plan {
  const steady = STEADY.filter((scenario) => scenario !== SHORT_READ || sidecar !== 'haproxy');
  return {
    parts: [
      ...steady.map((scenario) => ({ scenario, count: size })),
      { scenario: 'brief', count: 100 * size },
    ],
    lasting: ['lasting', 'edge-lasting', 'blocking-lasting'].map((scenario) => ({
      scenario,
      count: 4 * size,
    })),
  };
}

/** The same without what applications that read by other means than recv() cannot stand. */
export function fitForFull(parts: readonly Part[]): Part[] {
  return parts.filter(({ scenario }) => !UNFIT_FOR_FULL.includes(scenario));
}

/** What was seen at least once. */
export function kinds(observations: Observations): string[] {
  return [...observations.keys()].sort();
}

/** Observations that plain TCP did not make, with their numbers; empty when there are none. */
export function unexpected(seen: Observations, plain: Observations): string[] {
  return [...seen].filter(([what]) => !plain.has(what)).map(([what, count]) => `${what} (${count})`);
}

/** Observations that no network fault explains: wrong bytes, a lost wake-up, a blocking call that does not block. */
export function wrong(seen: Observations): string[] {
  return [...seen]
    .filter(([what]) => !/: (ok|cut|refused)$/.test(what))
    .map(([what, count]) => `${what} (${count})`);
}
