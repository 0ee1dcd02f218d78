/** Outcomes for people: lines as they come, or Markdown. */
import { release } from 'node:os';
import type { RuntimeCase } from './cases/case.ts';
import type { Outcome, Played } from './play.ts';

export type Verdict = 'same' | 'FAILED' | 'skipped';

export function verdictOf({ unavailable, faults }: Outcome): Verdict {
  if (unavailable !== null) return 'skipped';
  return faults.length > 0 ? 'FAILED' : 'same';
}

/** @param withSeen also what was seen under each contender */
export function textLines(outcome: Outcome, seconds: number, withSeen: boolean): string[] {
  const { unavailable, faults, played } = outcome;
  const carried = [...played].map(([contender, one]) => `${contender}: ${carriedIn(one)}${endsIn(one)}`);
  const seen = withSeen
    ? [...played].flatMap(([contender, one]) => one.seen.map((line) => `${contender}: ${line}`))
    : [];
  const below = [...(unavailable === null ? [] : [unavailable]), ...carried, ...faults, ...seen];
  const first = `${verdictOf(outcome).padEnd(8)} ${outcome.case.name} (${seconds.toFixed(1)} s)`;
  return [first, ...below.map((line) => `           ${line}`)];
}

function megabytes({ carried }: Played): string {
  return (Number(carried.bytes) / 1e6).toFixed(1);
}

function carriedIn(played: Played): string {
  return played.carried.bytes === 0n ? 'nothing redirected' : `${megabytes(played)} MB redirected`;
}

/** Of each program, how many of its connections were taken up. */
function endsIn({ ends }: Played): string {
  const told = [...ends].map(([program, { promoted, blocking, other }]) => {
    const block = blocking > 0 ? ', which block' : '';
    return `${program} ${promoted} of ${promoted + blocking + other}${block}`;
  });
  return told.length === 0 ? '' : `; connections taken up: ${told.join(', ')}`;
}

/** Text of docs/runtimes.md. */
export function markdown(outcomes: readonly Outcome[], sidecar: string, versions: readonly string[]): string {
  return [
    ...INTRODUCTION,
    `Linux ${release()}; sidecars: ${sidecar}; ${versions.join(', ')}. MB are what was redirected from socket to socket.`,
    '',
    '| runtime | used | eBPF, not accelerated | accelerated | `full` | its own connections under `full` |',
    '|---|---|---|---|---|---|',
    ...outcomes.map(row),
  ].join('\n');
}

const INTRODUCTION = [
  '# Runtimes',
  '',
  'Servers, clients and databases as they are, in two pods of one node with real sidecars: application, sidecar, sidecar,',
  'application. Each is played in four pairs of pods at once: under our iptables backend, under eBPF without acceleration, under',
  'eBPF as it is by default, and with `shunt.dev/acceleration: full`. Everything that its client sees (digests of what came,',
  'statuses, counts, errors, exit codes) has to be line for line what it is under iptables. Connections stay, are used with',
  'requests of 1 byte to 600 KB, stream some MB each way, rest for longer than promotion takes, go on, and are half closed.',
  '',
  '    npm run test:runtimes -- --markdown > docs/runtimes.md',
  '',
  'It fails as well where nothing was redirected that should have been, or the other way round: counters of the pods tell, and',
  'of `full` every connection of the application is looked up in the sockhash. Those that stay with TCP do so for a reason of',
  '[the gate](acceleration.md#promotion-observe-then-accelerate). The part of it that needs nothing installed is in `npm test`.',
  '',
];

function row({ case: runtime, unavailable, faults, played }: Outcome): string {
  const { name, what } = runtime;
  if (unavailable !== null) return `| ${name} | ${what} | not run: ${unavailable} | | | |`;
  const cell = (contender: 'plain' | 'accelerated' | 'full'): string => {
    const one = played.get(contender);
    if (one === undefined || faults.some((fault) => fault.startsWith(contender))) return '**differs**';
    return contender === 'plain' ? 'same' : `same, ${megabytes(one)} MB`;
  };
  return `| ${name} | ${what} | ${cell('plain')} | ${cell('accelerated')} | ${cell('full')} | ${own(runtime)} |`;
}

function own({ taken, left }: RuntimeCase): string {
  const reasons = Object.entries(left).map(([program, why]) => `${program} left alone: it ${why}`);
  return [...(taken.length > 0 ? [`${taken.join(', ')} redirected`] : []), ...reasons].join('; ');
}
