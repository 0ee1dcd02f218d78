/** What looking for connections to accelerate costs a node whose connections are idle. */
import { setTimeout as delay } from 'node:timers/promises';
import { readWalks } from '../../datapath/ebpf/inspect.ts';
import { cpuTimeNs } from '../../lab/load.ts';
import type { BenchBed } from './bed.ts';
import { account, programTimes } from './program_times.ts';

/** A connection is young for five seconds, and is looked at more often. */
const SETTLE_MS = 6_000;
const WATCH_MS = 10_000;
const PROGRAM = 'shunt_promote';

export interface PromotionCost {
  /** From the application to its sidecar: two sockets each. */
  connections: number;
  walksPerSecond: number;
  /** CPU time of the agent, milliseconds a second; all that it does. */
  agentMs: number;
  /** Of that in the program, by the kernel's account. */
  programMs: number;
}

export async function promotionCost(
  bed: BenchBed,
  connections: number,
  signal?: AbortSignal,
): Promise<PromotionCost> {
  const options = signal === undefined ? {} : { signal };
  await delay(SETTLE_MS, undefined, options);
  using _account = account();
  const read = () => ({
    ms: performance.now(),
    walks: readWalks(bed.bpffs),
    agentNs: cpuTimeNs([bed.agent.pid]),
    programNs: [...programTimes(bed.bpffs).values()]
      .filter(({ name }) => name === PROGRAM)
      .reduce((sum, { ns }) => sum + ns, 0),
  });
  const before = read();
  await delay(WATCH_MS, undefined, options);
  const after = read();
  const seconds = (after.ms - before.ms) / 1000;
  return {
    connections,
    walksPerSecond: (after.walks - before.walks) / seconds,
    agentMs: (after.agentNs - before.agentNs) / 1e6 / seconds,
    programMs: (after.programNs - before.programNs) / 1e6 / seconds,
  };
}
