/** What each of our programs costs, by the kernel's own account, which itself adds some tens of nanoseconds a call. */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { listOwnPrograms, listPinnedMaps } from '../../datapath/ebpf/inspect.ts';
import type { BenchBed } from './bed.ts';
import type { Contender } from './contenders.ts';
import { Lane } from './lane.ts';

const ACCOUNT = '/proc/sys/kernel/bpf_stats_enabled';
/** What is done, how often, and whether it makes connections, which are let settle first. */
const WORK = [
  { what: 'one round trip of 64 B, pod to pod', command: 'rtt 64 1000', times: 1_000 },
  { what: 'connect, one request of 64 B, close; pod to pod', command: 'connect 64 300', times: 300 },
] as const;
const WARM_UP_MS = 1_500;
const PROFILED: readonly Contender[] = ['redirect', 'accelerated'];

/** What one program did for one piece of work. */
export interface ProgramCost {
  program: string;
  /** Calls for one. */
  calls: number;
  /** Nanoseconds a call. */
  ns: number;
}

export interface Profile {
  contender: Contender;
  what: string;
  programs: ProgramCost[];
}

/** Turns the kernel's account on for as long as it is held. */
export function account(): Disposable {
  const before = readFileSync(ACCOUNT, 'utf8');
  writeFileSync(ACCOUNT, '1');
  return { [Symbol.dispose]: () => writeFileSync(ACCOUNT, before) };
}

/** Calls and nanoseconds of every program that uses the maps pinned here, so far. */
export function programTimes(bpffs: string): Map<number, { name: string; runs: number; ns: number }> {
  const maps = new Set(listPinnedMaps(bpffs).map(({ mapId }) => mapId));
  return new Map(
    listOwnPrograms(bpffs)
      .filter(({ mapIds }) => mapIds.some((id) => maps.has(id)))
      .map(({ programId, name, runs, runTimeNs }) => [
        programId,
        { name, runs: Number(runs), ns: Number(runTimeNs) },
      ]),
  );
}

/** Microseconds of all programs for one piece of work. */
export function together({ programs }: Profile): number {
  return programs.reduce((sum, { calls, ns }) => sum + (calls * ns) / 1000, 0);
}

/** One line a program. */
export function profileText(profile: Profile): string {
  const line = (name: string, each: string, us: number): string =>
    `  ${name.padEnd(20)} ${each.padStart(20)} = ${us.toFixed(2).padStart(6)} us\n`;
  const rows = profile.programs.map(({ program, calls, ns }) =>
    line(program, `${calls.toFixed(2)} x ${ns.toFixed(0).padStart(5)} ns`, (calls * ns) / 1000),
  );
  return `${profile.contender}: ${profile.what}\n${rows.join('')}${line('together', '', together(profile))}`;
}

/** @throws SHUNT_E_LAB_PROCESS */
export async function profilePrograms(bed: BenchBed, signal?: AbortSignal): Promise<Profile[]> {
  using _account = account();
  const profiles: Profile[] = [];
  for (const contender of PROFILED) {
    await using lane = await Lane.open(bed.lab, contender, 'pod', signal);
    await lane.place('one core', [0]);
    for (const end = performance.now() + WARM_UP_MS; performance.now() < end; ) {
      await lane.ask('rtt 64 100');
      await delay(20, undefined, signal === undefined ? {} : { signal });
    }
    for (const { what, command, times } of WORK) {
      const start = programTimes(bed.bpffs);
      await lane.ask(command);
      profiles.push({ contender, what, programs: costs(start, programTimes(bed.bpffs), times) });
    }
  }
  return profiles;
}

function costs(
  start: ReturnType<typeof programTimes>,
  end: ReturnType<typeof programTimes>,
  times: number,
): ProgramCost[] {
  // Each pod has an inbound program of its own, under one name.
  const byName = new Map<string, { runs: number; ns: number }>();
  for (const [id, { name, runs, ns }] of end) {
    const before = start.get(id) ?? { runs: 0, ns: 0 };
    const sum = byName.get(name) ?? { runs: 0, ns: 0 };
    byName.set(name, { runs: sum.runs + runs - before.runs, ns: sum.ns + ns - before.ns });
  }
  return [...byName].flatMap(([program, { runs, ns }]) =>
    runs === 0 ? [] : [{ program, calls: runs / times, ns: ns / runs }],
  );
}
