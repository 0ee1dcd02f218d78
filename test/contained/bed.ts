/** A node with one enrolled pod, a cgroup outside of what we attach to, and programs of others. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attachedPrograms, codec, defineObject, Program } from 'libbpf-ts';
import { builtObjects, compileObjects } from '../../src/datapath/ebpf/compile.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf/datapath.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { run } from '../../src/lab/command.ts';
import { type Netns, Topology } from '../../src/lab/topology.ts';
import { resolveCgroup } from '../../src/pod/cgroup.ts';
import { resolveNetns } from '../../src/pod/netns.ts';
import type { Workload } from '../../src/pod/workload.ts';
import { MESHES, policyOf } from '../conformance/meshes.ts';
import { Connector, compileProbe, type Seen, serve } from '../conformance/probe.ts';
import { bedGuard } from '../fixtures/bed_guard.ts';
import { testBpffs } from '../fixtures/bpffs.ts';

const STATS = '/proc/sys/kernel/bpf_stats_enabled';
export const APP_PORT = 8080;
const CONTAINERS = {
  app: { uid: 1000, gid: 1000 },
  sidecar: { uid: 1337, gid: 1337 },
  /** Not the sidecar's container, but its user. */
  impersonator: { uid: 1337, gid: 1337 },
};
export type Container = keyof typeof CONTAINERS;

/** Slots of strangers.bpf.c. */
export const SLOT = {
  connects: 0,
  lastIp4: 1,
  lastPort: 2,
  refusedPort: 3,
  sockops: 4,
  getsockopts: 5,
  lookups: 6,
  choosesPort: 7,
  messages: 8,
} as const;

const strangers = defineObject({
  name: 'strangers',
  maps: {
    slots: { type: 'array', key: codec.u32, value: codec.u64 },
    socks: { type: 'sockhash', key: codec.u32, value: codec.u64 },
  },
  programs: {
    stranger_connect: { section: 'cgroup/connect4' },
    stranger_sockops: { section: 'sockops' },
    stranger_sockopt: { section: 'cgroup/getsockopt' },
    stranger_lookup: { section: 'sk_lookup' },
    stranger_message: { section: 'sk_msg' },
  },
});

export type Strangers = Awaited<ReturnType<typeof loadStrangers>>;

/** @param folder that strangers.bpf.o was compiled into */
export async function loadStrangers(folder: string) {
  using open = strangers.open({ file: join(folder, 'strangers.bpf.o') });
  return await open.load();
}

/** @returns the folder */
export async function compileStrangers(folder: string): Promise<string> {
  return await compileObjects(folder, import.meta.dirname);
}

export class ContainedBed implements AsyncDisposable {
  readonly datapath: EbpfDatapath;
  readonly workload: Workload;
  readonly folder: string;
  /** What our programs are attached to. */
  readonly attached: string;
  /** A cgroup beside it. */
  readonly elsewhere: string;
  readonly pod: Netns;
  readonly outside: Netns;
  readonly #cgroup: CgroupTree;
  readonly #stack: AsyncDisposableStack;
  readonly #connector: Connector;
  readonly #far: Connector;

  private constructor(parts: {
    datapath: EbpfDatapath;
    workload: Workload;
    folder: string;
    cgroup: CgroupTree;
    topology: Topology;
    stack: AsyncDisposableStack;
    connector: Connector;
    far: Connector;
    pod: Netns;
  }) {
    this.datapath = parts.datapath;
    this.workload = parts.workload;
    this.folder = parts.folder;
    this.#cgroup = parts.cgroup;
    this.attached = parts.cgroup.add('pods');
    this.elsewhere = parts.cgroup.add('elsewhere');
    this.pod = parts.pod;
    this.outside = parts.topology.outside;
    this.#stack = parts.stack;
    this.#connector = parts.connector;
    this.#far = parts.far;
  }

  /** @param before is run when everything is there but our programs, with the cgroup that they are to be attached to */
  static async open(
    name: string,
    before: (place: { attached: string; folder: string; pod: Netns }) => Promise<void> = async () => {},
  ): Promise<ContainedBed> {
    const prefix = `shunt-${name}${process.pid}`;
    await using stack = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
    stack.use(bedGuard(prefix, folder));
    stack.defer(() => rmSync(folder, { recursive: true }));
    await run(['chmod', '755', folder]);
    const topology = stack.use(await Topology.make(prefix, ['pod']));
    const cgroup = stack.use(CgroupTree.make(prefix));
    const pod = topology.pods.get('pod');
    if (pod === undefined) throw new Error('no pod');
    const attached = cgroup.add('pods');
    const program = await compileProbe(folder);
    const log = (who: string) => join(folder, `${who}.log`);
    const at = (who: Container) => ({
      place: { ...CONTAINERS[who], netns: pod.path, cgroup: cgroup.add('pods', 'pod', who) },
      logFile: log(who),
    });
    const far = { place: { netns: topology.outside.path }, logFile: log('outside') };
    stack.use(await serve(program, 'outside', [`any:${APP_PORT}`], far));
    stack.use(await serve(program, 'app', [`any:${APP_PORT}`], at('app')));
    stack.use(await serve(program, 'sidecar', ['any:15001', 'any:15006'], at('sidecar')));
    const connector = stack.use(await Connector.start(program, pod.path, log('connect')));
    const farConnector = stack.use(await Connector.start(program, topology.outside.path, log('far')));
    await before({ attached, folder, pod });
    const bpffs = stack.use(testBpffs());
    const datapath = stack.use(
      await EbpfDatapath.start({
        pins: new Pins(bpffs.path),
        objectDirectory: builtObjects(),
        cgroup: resolveCgroup(attached),
        acceleration: false,
      }),
    );
    const istio = MESHES.find((mesh) => mesh.name === 'istio');
    if (istio === undefined) throw new Error('no Istio');
    const workload: Workload = {
      ...{ namespace: 'test', name: 'pod', uid: 'test/pod', acceleration: 'off' as const },
      netns: resolveNetns(pod.path),
      ...{ ip4: pod.ip4, ip6: pod.ip6 },
      sidecarCgroup: resolveCgroup(cgroup.add('pods', 'pod', 'sidecar')),
      policy: policyOf(istio),
    };
    await datapath.enroll(workload);
    const parts = { datapath, workload, folder, cgroup, topology, connector, far: farConnector, pod };
    return new ContainedBed({ ...parts, stack: stack.move() });
  }

  container(name: Container): string {
    return this.#cgroup.add('pods', 'pod', name);
  }

  /** Enrolls the pod anew, with or without its sidecar's cgroup. */
  async enroll(cgroupKnown: boolean): Promise<void> {
    const sidecarCgroup = cgroupKnown ? this.workload.sidecarCgroup : null;
    await this.datapath.enroll({ ...this.workload, sidecarCgroup });
  }

  /** A process of a container, or of a cgroup below it, connects out of the pod or within it. */
  async connect(from: Container, host = this.outside.ip4, port = APP_PORT, below = ''): Promise<Seen> {
    const cgroup = join(this.container(from), below, 'cgroup.procs');
    return await this.#connector.connect({ ...CONTAINERS[from], cgroup, source: null, host, port });
  }

  /** Somebody outside connects to the pod. */
  async reach(port = APP_PORT): Promise<Seen> {
    const nobody = { uid: 0, gid: 0, cgroup: '-', source: null };
    return await this.#far.connect({ ...nobody, host: this.pod.ip4, port });
  }

  counter(name: string): bigint {
    const [pod] = this.datapath.pods();
    return pod?.counters[name] ?? 0n;
  }

  /** How often each of our programs has run, by name. */
  runs(): Map<string, bigint> {
    const [inbound] = attachedPrograms(this.pod.path, 'sk_lookup');
    const programs = this.datapath.links().map(({ name, programId }) => [name, programId] as const);
    if (inbound !== undefined) programs.push(['inbound', inbound]);
    return new Map(
      programs.map(([name, id]) => {
        using program = Program.fromId(id);
        return [name, program.info().runCount];
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.datapath.withdraw(this.workload.netns.cookie);
    await this.#stack.disposeAsync();
  }
}

/** Has the kernel count the runs of programs, as long as it is held. */
export function countingRuns(): Disposable {
  const before = readFileSync(STATS, 'utf8');
  writeFileSync(STATS, '1');
  return { [Symbol.dispose]: () => writeFileSync(STATS, before) };
}
