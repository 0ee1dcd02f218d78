/**
 * What each of our programs costs, by the kernel's own account (kernel.bpf_stats_enabled): `npm run bench:programs`. The
 * account itself adds some tens of nanoseconds a call. Needs root.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listPrograms } from 'libbpf-ts';
import { Lane, openLab } from '../src/cli/bench/contenders.ts';
import { AgentProcess } from '../src/cli/demo/agent_process.ts';
import { withBpffs } from '../src/cli/demo/node.ts';
import { removePins } from '../src/cli/demo/pins.ts';
import { processIo } from '../src/cli/io.ts';
import { listOwnPrograms } from '../src/datapath/ebpf/inspect.ts';

const PREFIX = 'shunt-programs';
const STATS = '/proc/sys/kernel/bpf_stats_enabled';
const CONTENDERS = ['redirect', 'accelerated'] as const;
/** What is done, and how often. */
const WORK = [
  ['one round trip of 64 B, pod to pod', 'rtt 64 1000', 1000],
  ['connect, one request of 64 B, close; pod to pod', 'connect 64 300', 300],
] as const;
const WARM_UP_MS = 1_500;

const io = processIo();
const cli = [
  process.execPath,
  '--conditions=source',
  join(import.meta.dirname, '../src/cli/main.ts'),
] as const;
await using stack = new AsyncDisposableStack();
stack.use(await withBpffs('/sys/fs/bpf', io));
const bpffs = join('/sys/fs/bpf', PREFIX);
mkdirSync(bpffs, { recursive: true });
stack.defer(() => rmSync(bpffs, { recursive: true, force: true }));
const paths = new Set(['pod'] as const);
const lab = stack.use(await openLab(PREFIX, { sidecar: 'haproxy', contenders: CONTENDERS, paths }));
const socket = join(lab.folder, 'agent.sock');
stack.defer(async () => {
  await lab.still();
  await removePins({ cli, socket, bpffs });
});
stack.use(await AgentProcess.start({ cli, lab, socket, bpffs, backend: 'ebpf' }));
const before = readFileSync(STATS, 'utf8');
stack.defer(() => writeFileSync(STATS, before));
writeFileSync(STATS, '1');

interface Stats {
  name: string;
  runs: number;
  ns: number;
}

function stats(): Map<number, Stats> {
  const own = new Set(listOwnPrograms(bpffs).map(({ programId }) => programId));
  const found = [...listPrograms()].filter(({ id }) => own.has(id));
  return new Map(
    found.map(({ id, name, runCount, runTimeNs }) => [
      id,
      { name, runs: Number(runCount), ns: Number(runTimeNs) },
    ]),
  );
}

for (const contender of CONTENDERS) {
  await using lane = await Lane.open(lab, contender, 'pod');
  await lane.place('one core', [0]);
  for (const end = performance.now() + WARM_UP_MS; performance.now() < end; ) await lane.ask('rtt 64 100');
  for (const [what, command, times] of WORK) {
    const start = stats();
    await lane.ask(command);
    io.out(`\n${contender}: ${what}\n`);
    let sum = 0;
    for (const [id, { name, runs, ns }] of stats()) {
      const ran = runs - (start.get(id)?.runs ?? 0);
      const took = ns - (start.get(id)?.ns ?? 0);
      if (ran === 0) continue;
      sum += took;
      const each = `${(ran / times).toFixed(2).padStart(6)} x ${(took / ran).toFixed(0).padStart(5)} ns`;
      io.out(`  ${name.padEnd(20)} ${each} = ${(took / times / 1000).toFixed(2).padStart(6)} us\n`);
    }
    io.out(
      `  ${'together'.padEnd(20)} ${''.padStart(20)} ${(sum / times / 1000).toFixed(2).padStart(6)} us\n`,
    );
  }
}
