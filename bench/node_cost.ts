/** What the agent and the CLI take, measured on the real ones: enrolling, CNI, memory, idling, and two commands. */
import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { BpfMap, codec } from 'libbpf-ts';
import type { NodeFigure } from '../src/cli/bench/node_figures.ts';
import { withBpffs } from '../src/cli/demo/node.ts';
import type { Io } from '../src/cli/io.ts';
import { builtObjects } from '../src/datapath/ebpf/compile.ts';
import { PodCodec } from '../src/datapath/ebpf/gen/objects.ts';
import { DEFAULT_SIZES, Objects } from '../src/datapath/ebpf/objects.ts';
import { Pins } from '../src/datapath/ebpf/pins.ts';
import { addr } from '../src/datapath/ebpf/pod_value.ts';
import { inPath } from '../src/lab/checkout.ts';
import { toolMissing } from '../src/lab/command.ts';
import { until } from '../src/lab/deadline.ts';
import { istioRules } from '../src/lab/iptables.ts';
import { cpuTimeNs, residentBytes } from '../src/lab/load.ts';
import { TimedExec } from '../src/lab/timed_exec.ts';
import { MANIFEST_DEBOUNCE_MS } from '../src/pod/files.ts';
import { resolveNetns } from '../src/pod/netns.ts';
import { netconf, PLUGIN, podArgs } from '../test/cni/plugin.ts';
import { testBpffs } from '../test/fixtures/bpffs.ts';
import { type BedPod, INSTALLED, NodeBed } from './node_bed.ts';

const DUMPED = 100_000;
/** The first of each are thrown away. */
const WARM_UP = 5;
const ENFORCED_MS = 10_000;

export interface NodeCostOptions {
  bpffs: string;
  pods: number;
  /** Of enrolments and of ADDs. */
  rounds: number;
  /** Of commands. */
  commands: number;
  /** What the agent is given to settle, and is watched for. */
  settleMs: number;
  idleMs: number;
  signal: AbortSignal;
}

/** Programs in turn, so that what the machine does meanwhile meets all of them. */
export async function measureNode(options: NodeCostOptions, io: Io): Promise<NodeFigure[]> {
  await using _mounted = await withBpffs(options.bpffs, io);
  const { rounds, signal } = options;
  const each = rounds + WARM_UP;
  await using bed = await NodeBed.open(options.bpffs, options.pods);
  // The second group has the rules of iptables, the third hears of its namespaces by ADD.
  const groups = [0, 1, 2].map((group) => bed.pods.slice(group * each, (group + 1) * each));
  const [byFile = [], byRules = [], byAdd = []] = groups;
  const figures = [...(await enrolments(bed, byFile, byRules, signal)), ...(await adds(bed, byAdd, signal))];
  figures.push(...(await crowded(bed, options)));
  return [...figures, ...(await commands(options))];
}

async function enrolments(
  bed: NodeBed,
  byFile: readonly BedPod[],
  byRules: readonly BedPod[],
  signal: AbortSignal,
): Promise<NodeFigure[]> {
  using pods = BpfMap.fromPin(new Pins(bed.bpffs).map('pods'), { key: codec.u64, value: PodCodec });
  const times = { enroll: [] as number[], nft: [] as number[] };
  for (const [index, pod] of byFile.entries()) {
    signal.throwIfAborted();
    const { cookie } = resolveNetns(pod.netns);
    const startedMs = performance.now();
    bed.write(pod, true);
    await delay(MANIFEST_DEBOUNCE_MS - 10, undefined, { signal });
    // Its entry is the switch. A CPU that asked without rest would be missed: the agent's threads and the kernel's need both.
    while (!pods.has(cookie)) {
      await delay(1, undefined, { signal });
      bed.agent.assertRunning();
      if (performance.now() - startedMs > ENFORCED_MS) throw new Error(`${pod.name} is not enforced`);
    }
    times.enroll.push(performance.now() - startedMs - MANIFEST_DEBOUNCE_MS);
    const rules = `--net=${byRules[index]?.netns}`;
    times.nft.push(timed(['nsenter', rules, 'iptables-nft-restore', '--noflush'], istioRules({ family: 4 })));
  }
  return [
    row(
      'enroll',
      `enroll a pod, from its manifest's ${MANIFEST_DEBOUNCE_MS} ms of quiet to enforced`,
      times.enroll,
    ),
    row('nft', "Istio's rules, nsenter and iptables-nft-restore", times.nft),
  ];
}

async function adds(bed: NodeBed, pods: readonly BedPod[], signal: AbortSignal): Promise<NodeFigure[]> {
  const times = { none: [] as number[], version: [] as number[], add: [] as number[] };
  await using timer = await TimedExec.start(bed.programs);
  const nothing = inPath('true') ?? toolMissing('true');
  for (const pod of pods) {
    const { name, uid, netns } = pod;
    // Known before its sandbox is made, as from the API server; one at a time, for each that waits is looked for again.
    bed.write(pod, false);
    await delay(1.5 * MANIFEST_DEBOUNCE_MS, undefined, { signal });
    const env = {
      CNI_CONTAINERID: `c-${name}`,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_ARGS: podArgs('default', name, uid),
    };
    const config = netconf({ socket: bed.cniSocket });
    const call = (command: string) => timer.run(PLUGIN, { CNI_COMMAND: command, ...env }, config);
    times.none.push(await timer.run(nothing));
    times.version.push(await call('VERSION'));
    times.add.push(await call('ADD'));
  }
  return [
    row('true', 'exec of true', times.none),
    row('cni-exec', 'exec of the CNI plugin, VERSION', times.version),
    row('cni-add', 'CNI ADD that enrolls, exec and all', times.add),
  ];
}

/** With every pod of the bed enrolled. */
async function crowded(
  bed: NodeBed,
  { pods, settleMs, idleMs, signal }: NodeCostOptions,
): Promise<NodeFigure[]> {
  for (const pod of bed.pods) bed.write(pod, true);
  await until(async () => ((await bed.client.status()).pods.enrolled === pods ? true : undefined), {
    what: `${pods} pods to be enforced`,
    timeoutMs: 60_000,
    everyMs: 500,
  });
  await delay(settleMs, undefined, { signal });
  const { pid } = bed.agent;
  const before = { ns: cpuTimeNs([pid]), ms: performance.now() };
  await delay(idleMs, undefined, { signal });
  const share = (cpuTimeNs([pid]) - before.ns) / 1e6 / (performance.now() - before.ms);
  // Thousands of the kernel's kB, as `npm run test:image` gives them.
  const megabytes = residentBytes(pid) / 1024 / 1000;
  return [
    {
      id: `rss-${pods}`,
      title: `agent with ${pods} pods: resident`,
      unit: 'MB',
      values: [megabytes],
    },
    {
      id: `idle-${pods}`,
      title: `agent with ${pods} pods, idle: share of a core`,
      unit: '',
      values: [share],
    },
  ];
}

async function commands({ commands: times, signal }: NodeCostOptions): Promise<NodeFigure[]> {
  using bpffs = testBpffs();
  const pins = new Pins(bpffs.path);
  pins.prepare();
  // Room for the entries in `addrs`, of which there are sixteen for each pod.
  using objects = await new Objects(builtObjects(), pins, { ...DEFAULT_SIZES, pods: 8_192 }).loadNode();
  const address = addr('10.0.0.1');
  objects.connect.maps.shunt_addrs.setMany(
    Array.from({ length: DUMPED }, (_, index) => [{ netns: BigInt(index + 1), addr: address }, 1n] as const),
  );
  const found = { help: [] as number[], dump: [] as number[], none: [] as number[] };
  for (let turn = 0; turn <= times; turn++) {
    signal.throwIfAborted();
    found.none.push(timed([process.execPath, '-e', '0']));
    found.help.push(timed([...INSTALLED, '--help']));
    found.dump.push(timed([...INSTALLED, 'map', 'dump', 'addrs', '--bpffs', bpffs.path]));
  }
  return [
    row('node', 'node -e 0', found.none, 1),
    row('help', 'shunt --help', found.help, 1),
    row('dump', `shunt map dump of ${DUMPED.toLocaleString('en')} entries`, found.dump, 1),
  ];
}

function row(id: string, title: string, values: readonly number[], warmUp = WARM_UP): NodeFigure {
  return { id, title, unit: 'ms', values: values.slice(warmUp) };
}

/** Milliseconds from fork to the end of the process. @throws what it said, where it failed */
function timed(
  [file = '', ...args]: readonly string[],
  input = '',
  env: Record<string, string> = {},
): number {
  const startedMs = performance.now();
  const { status, stdout, stderr } = spawnSync(file, args, {
    input,
    env: { PATH: process.env.PATH, ...env },
    maxBuffer: 1 << 28,
  });
  const tookMs = performance.now() - startedMs;
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${stdout}${stderr}`);
  return tookMs;
}
