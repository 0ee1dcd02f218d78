/** Outcomes for people: lines as they come, or Markdown. */
import { release } from 'node:os';
import type { Ends } from './ends.ts';
import type { Outcome, Played } from './play.ts';

export type Verdict = 'same' | 'FAILED' | 'skipped';

export function verdictOf({ unavailable, faults }: Outcome): Verdict {
  if (unavailable !== null) return 'skipped';
  return faults.length > 0 ? 'FAILED' : 'same';
}

/** @param withSeen also what was seen under each contender */
export function textLines(outcome: Outcome, seconds: number, withSeen: boolean): string[] {
  const { unavailable, faults, played } = outcome;
  const carried = [...played].map(([contender, one]) => `${contender} ${carriedIn(one)}${endsIn(one)}`);
  const seen = withSeen
    ? [...played].flatMap(([contender, one]) => one.seen.map((line) => `${contender}: ${line}`))
    : [];
  const below = [...(unavailable === null ? [] : [unavailable]), ...carried, ...faults, ...seen];
  const first = `${verdictOf(outcome).padEnd(8)} ${outcome.case.name} (${seconds.toFixed(1)} s)`;
  return [first, ...below.map((line) => `           ${line}`)];
}

function carriedIn({ carried }: Played): string {
  return carried.bytes === 0n ? 'none' : `${(Number(carried.bytes) / 1e6).toFixed(1)} MB`;
}

function endsIn({ ends }: Played): string {
  const told = [...ends].map(([program, { promoted, blocking, other }]: [string, Ends]) => {
    return `${program} ${promoted}/${promoted + blocking + other}${blocking > 0 ? ' (block)' : ''}`;
  });
  return told.length === 0 ? '' : ` [${told.join(', ')}]`;
}

/** Text of docs/runtimes.md. */
export function markdown(outcomes: readonly Outcome[], sidecar: string): string {
  return [
    ...INTRODUCTION,
    `Linux ${release()}, sidecars: ${sidecar}.`,
    '',
    '| runtime | used | without acceleration | accelerated | with `full` |',
    '|---|---|---|---|---|',
    ...outcomes.map(row),
  ].join('\n');
}

const INTRODUCTION = ['# Runtimes', ''];

function row(outcome: Outcome): string {
  return `| ${outcome.case.name} |`;
}
