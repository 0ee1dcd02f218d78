import { dirname } from 'node:path';
import { errorReport, ShuntError } from '../../errors.ts';
import { Lab, OTHER_PORT } from '../../lab/lab.ts';
import { SIDECARS, type SidecarKind } from '../../lab/sidecar.ts';
import type { Io } from '../io.ts';
import { renderJson } from '../output/json.ts';
import { dress } from '../output/table.ts';
import type { Format } from '../output/writer.ts';
import { AgentProcess, ownCli } from './agent_process.ts';
import type { Bed } from './bed.ts';
import { abortable, Interruption } from './interruption.ts';
import { commandsToTry, printCommands, untilAborted } from './keep.ts';
import { compareLatency, type LatencyReport } from './latency.ts';
import { claimNode, withBpffs, withFolder } from './node.ts';
import { removeAgentRules, removePins } from './pins.ts';
import { latencyTable, tableHead, tableRow } from './render.ts';
import type { Row } from './row.ts';
import { runScenarios } from './run.ts';

/** Name of everything the demo makes on the node: /run/netns/shunt-demo-a and so on. */
const PREFIX = 'shunt-demo';

export interface DemoOptions {
  /** Envoy unless told, and HAProxy where there is no Envoy. */
  sidecar?: SidecarKind | undefined;
  /** How the agent redirects; eBPF unless told. */
  backend?: Bed['backend'] | undefined;
  /** Stay after the table, with commands to try, until Ctrl-C. */
  keep?: boolean;
  /** Leave out the comparison of latency. */
  latency?: boolean;
  /** `json` prints one document at the end in place of the tables. */
  format: Format;
  socket: string;
  bpffs: string;
  /** How to run this CLI again for its agent; by default as this process was run. */
  cli?: readonly [string, ...string[]];
}

/** What `-o json` prints. */
export interface DemoReport {
  sidecar: SidecarKind;
  backend: Bed['backend'];
  ok: boolean;
  acceleration: { enabled: boolean; reason: string };
  rows: Row[];
  latency: LatencyReport | null;
  seconds: number;
}

/**
 * Builds two pods and a host outside with real sidecars, starts the agent, shows what traffic does, compares the
 * latency with iptables, and takes everything down again.
 *
 * @returns exit code: 0 when every expectation held, 1 when one failed, 128 + n when ended by signal n
 * @throws SHUNT_E_NOT_ROOT, SHUNT_E_AGENT_RUNNING, SHUNT_E_DEMO_NODE_IN_USE, SHUNT_E_LAB_*, SHUNT_E_CLEANUP_LEFT
 */
export async function runDemo(options: DemoOptions, io: Io): Promise<number> {
  using interruption = new Interruption(io);
  const { signal } = interruption;
  const start = performance.now();
  try {
    const report = await demonstrate(options, io, signal, start);
    if (signal.aborted && options.keep !== true) return interruption.exitCode;
    return report.ok ? 0 : 1;
  } catch (error) {
    const cause = firstCause(error, io);
    if (!signal.aborted) throw cause;
    // An abort comes out of whatever was under way, in its own words.
    if (!isAbort(cause)) io.note(errorReport(cause).message);
    return interruption.exitCode;
  }
}

async function demonstrate(
  options: DemoOptions,
  io: Io,
  signal: AbortSignal,
  start: number,
): Promise<DemoReport> {
  const { socket, bpffs, keep = false, cli = ownCli(), backend = 'ebpf' } = options;
  // Of iptables and iptables there is nothing to compare.
  const compares = backend === 'ebpf' && options.latency !== false;
  const print = options.format === 'json' ? () => {} : io.out;
  const sidecar = chooseSidecar(options.sidecar, io);
  await using stack = new AsyncDisposableStack();
  if (backend === 'ebpf') stack.use(await withBpffs(bpffs, io));
  stack.use(withFolder(dirname(socket)));
  await claimNode(PREFIX, { cli, socket, bpffs }, io);
  signal.throwIfAborted();

  const again = compares ? '; the same again for iptables' : '';
  io.note(`building two pods and a host outside, with ${sidecar} as sidecar${again}`);
  const pods = compares ? [...PODS, ...COMPARED] : PODS;
  const lab = stack.use(await Lab.open({ prefix: PREFIX, sidecar, pods, exitOnSignal: false, signal }));
  // Deferred before the agent starts: an agent that fails half way has pinned something too.
  stack.defer(async () => {
    // Idle connections that are accelerated would make the clean-up wait for their readers.
    await lab.still();
    if (backend === 'ebpf') await removePins({ cli, socket, bpffs });
    else await removeAgentRules(lab, { cli, socket, bpffs });
  });
  const agent = stack.use(await AgentProcess.start({ cli, lab, socket, bpffs, backend, signal }));
  const status = await agent.client.status();
  const { acceleration } = status;
  io.note(
    `agent ${agent.pid}: ${status.pods.enrolled} pods enrolled with ${status.backend} (${status.backendReason}), ` +
      `${status.links.length} links pinned, acceleration ${acceleration.enabled ? 'on' : 'off'} (${acceleration.reason})`,
  );

  const bed: Bed = {
    lab,
    a: lab.pod('a'),
    b: lab.pod('b'),
    outside: lab.outside,
    backend,
    agent,
    signal,
  };
  const rows: Row[] = [];
  print(`\n${tableHead()}`);
  const scenarios = runScenarios(bed);
  for (;;) {
    const { value: row, done } = await abortable(scenarios.next(), signal);
    if (done === true) break;
    rows.push(row);
    print(tableRow(row, io));
  }

  let latency: LatencyReport | null = null;
  if (compares) {
    io.note('comparing round trips with iptables REDIRECT: app a, sidecar, sidecar, app b');
    const pairs = { iptables: [lab.pod('c'), lab.pod('d')], shunt: [bed.a, bed.b] } as const;
    latency = await abortable(compareLatency(lab, pairs, signal), signal);
    print(`\n${latencyTable(latency, io)}`);
  }

  const failed = rows.filter(({ result }) => result === 'FAILED').length;
  const seconds = Math.round((performance.now() - start) / 100) / 10;
  print(`\n${verdict(rows.length, failed, io)} in ${seconds} s\n`);
  const report = { sidecar, backend, ok: failed === 0, acceleration, rows, latency, seconds };
  if (options.format === 'json') io.out(renderJson(report));
  if (keep) await stay(bed, agent, options, cli, io, signal);
  else io.note('taking everything down');
  return report;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** The error that ended the demo; errors of taking it down, which came on top, are told. */
function firstCause(error: unknown, io: Io): unknown {
  let first = error;
  while (first instanceof SuppressedError) {
    io.note(`taking down: ${errorReport(first.error).message}`);
    first = first.suppressed;
  }
  return first;
}

/** Shunt's own. */
const PODS = [
  { name: 'a', capture: 'shunt', excludeOutboundPorts: [OTHER_PORT] },
  { name: 'b', capture: 'shunt' },
] as const;
/** The same under Istio's rules, for the comparison. */
const COMPARED = [
  { name: 'c', capture: 'iptables' },
  { name: 'd', capture: 'iptables' },
] as const;

async function stay(
  bed: Bed,
  agent: AgentProcess,
  { socket, bpffs }: DemoOptions,
  cli: readonly string[],
  io: Io,
  signal: AbortSignal,
): Promise<void> {
  printCommands(commandsToTry(bed, agent, { cli, socket, bpffs }), io);
  io.note('it stays like this until Ctrl-C');
  await untilAborted(signal);
}

function verdict(rows: number, failed: number, io: Io): string {
  if (failed === 0) return dress(`all ${rows} as expected`, 'good', io.colour.out);
  return dress(`${failed} of ${rows} FAILED`, 'bad', io.colour.out);
}

function chooseSidecar(asked: SidecarKind | undefined, io: Io): SidecarKind {
  if (asked !== undefined) return asked;
  try {
    SIDECARS.envoy.locate();
    return 'envoy';
  } catch (error) {
    if (!(error instanceof ShuntError)) throw error;
    io.note('there is no Envoy on this machine: HAProxy takes its place');
    return 'haproxy';
  }
}
