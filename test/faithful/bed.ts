/** A node with pods that are plain, under our iptables backend, or under our eBPF backend. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtObjects } from '../../src/datapath/ebpf/compile.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf/datapath.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { IptablesDatapath } from '../../src/datapath/iptables/datapath.ts';
import { HIGHEST, type Tier } from '../../src/datapath/tier.ts';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { run } from '../../src/lab/command.ts';
import { type Netns, Topology, within } from '../../src/lab/topology.ts';
import { resolveCgroup } from '../../src/pod/cgroup.ts';
import { resolveNetns } from '../../src/pod/netns.ts';
import type { Workload } from '../../src/pod/workload.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { MESHES, policyOf } from '../conformance/meshes.ts';
import { bedGuard } from '../fixtures/bed_guard.ts';
import { testBpffs } from '../fixtures/bpffs.ts';
import { compilePuppet, Puppet } from './puppet.ts';
import { ANY, ANYWHERE_BLOCK, type Contender, MANY_PORTS, PORT, Stage, type Surroundings } from './stage.ts';

/** A pod for each, which has its name. */
export const CONTENDERS: readonly Contender[] = ['plain', 'iptables', 'ebpf'];
let serial = 0;

/** Pods by name: what redirects them, and by which policy unless it is Istio's of test/conformance. */
export type Pods = Readonly<Record<string, { contender: Contender; policy?: RedirectPolicy }>>;

const ONE_OF_EACH: Pods = Object.fromEntries(CONTENDERS.map((contender) => [contender, { contender }]));

/** Istio's, whose rules our iptables backend follows to the letter (test/conformance). */
export function istioPolicy(): RedirectPolicy {
  const mesh = MESHES.find(({ name }) => name === 'istio');
  if (mesh === undefined) throw new Error('no Istio among the meshes');
  return policyOf(mesh);
}

export class Bed implements AsyncDisposable {
  readonly topology: Topology;
  readonly bpffs: string;
  readonly ebpf: EbpfDatapath;
  readonly #iptables: IptablesDatapath;
  readonly #pods: Pods;
  readonly #cgroup: CgroupTree;
  readonly #folder: string;
  readonly #program: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: {
      pods: Pods;
      topology: Topology;
      bpffs: string;
      ebpf: EbpfDatapath;
      iptables: IptablesDatapath;
      cgroup: CgroupTree;
      folder: string;
      program: string;
    },
    stack: AsyncDisposableStack,
  ) {
    this.topology = parts.topology;
    this.bpffs = parts.bpffs;
    this.ebpf = parts.ebpf;
    this.#iptables = parts.iptables;
    this.#pods = parts.pods;
    this.#cgroup = parts.cgroup;
    this.#folder = parts.folder;
    this.#program = parts.program;
    this.#stack = stack;
  }

  /** @param maxTier of the eBPF backend */
  static async open(pods: Pods = ONE_OF_EACH, maxTier: Exclude<Tier, 0> = HIGHEST): Promise<Bed> {
    await using stack = new AsyncDisposableStack();
    const prefix = `shunt-faith${process.pid}x${serial++}`;
    const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
    stack.use(bedGuard(prefix, folder));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    await run(['chmod', '755', folder]);
    const topology = stack.use(await Topology.make(prefix, Object.keys(pods)));
    const cgroup = stack.use(CgroupTree.make(prefix));
    const program = await compilePuppet(folder);
    const bpffs = stack.use(testBpffs()).path;
    const ebpfDirectory = join(folder, 'ebpf-agent');
    mkdirSync(ebpfDirectory);
    const ebpf = stack.use(
      await EbpfDatapath.start({
        pins: new Pins(bpffs),
        objectDirectory: builtObjects(),
        cgroup: resolveCgroup(cgroup.add('ebpf')),
        acceleration: false,
        maxTier,
        rulesDirectory: ebpfDirectory,
      }),
    );
    const runDirectory = join(folder, 'agent');
    mkdirSync(runDirectory);
    const iptables = stack.use(new IptablesDatapath(runDirectory));
    const parts = { pods, topology, bpffs, ebpf, iptables, cgroup, folder, program };
    const bed = new Bed(parts, stack.move());
    try {
      await bed.#startOutside();
      for (const name of Object.keys(pods)) await bed.enroll(name);
      return bed;
    } catch (error) {
      await bed[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  stage(name: string): Stage {
    const { contender } = this.#kind(name);
    const around: Surroundings = {
      contender,
      pod: this.pod(name),
      outside: this.topology.outside,
      node: this.topology.node,
      program: this.#program,
      folder: this.#folder,
      cgroup: (container) => this.#cgroup.add(contender, name, container),
      enroll: () => this.enroll(name),
      withdraw: () => this.withdraw(name),
    };
    return new Stage(around);
  }

  pod(name: string): Netns {
    const pod = this.topology.pods.get(name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }

  async enroll(name: string): Promise<void> {
    const { contender, policy = istioPolicy() } = this.#kind(name);
    if (contender === 'plain') return;
    await this.#backend(contender).enroll(this.#workload(name, contender, policy));
    if (contender === 'iptables') await forgetSoon(this.pod(name));
  }

  async withdraw(name: string): Promise<void> {
    const { contender } = this.#kind(name);
    if (contender === 'plain') return;
    await this.#backend(contender).withdraw(resolveNetns(this.pod(name).path).cookie);
  }

  #kind(name: string): Pods[string] {
    const kind = this.#pods[name];
    if (kind === undefined) throw new Error(`no pod ${name}`);
    return kind;
  }

  #backend(contender: 'iptables' | 'ebpf'): IptablesDatapath | EbpfDatapath {
    return contender === 'ebpf' ? this.ebpf : this.#iptables;
  }

  /** The host outside answers on every address of two blocks, so that a connection to anywhere has an end. */
  async #startOutside(): Promise<void> {
    const { outside, node } = this.topology;
    const families = outside.ip6 === null ? ([4] as const) : ([4, 6] as const);
    for (const family of families) {
      const via = family === 4 ? outside.ip4 : (outside.ip6 ?? '');
      const ip = ['ip', `-${family}`, 'route', 'add'] as const;
      await run(within(node, [...ip, ANYWHERE_BLOCK[family], 'via', via]));
      await run(within(outside, [...ip, 'local', ANYWHERE_BLOCK[family], 'dev', 'lo']));
    }
    const place = { netns: outside.path };
    const logFile = join(this.#folder, 'outside.log');
    const server = this.#stack.use(await Puppet.start('far', this.#program, { place, logFile }));
    const many = Array.from({ length: MANY_PORTS }, (_, index) => PORT.many + index);
    for (const port of [PORT.app, PORT.brief, PORT.excluded, ...many]) {
      const brief = port === PORT.brief;
      for (const family of families)
        await server.serve({ name: `far:${port}`, family, host: ANY[family], port, brief });
    }
  }

  #workload(name: string, contender: 'iptables' | 'ebpf', policy: RedirectPolicy): Workload {
    const { path, ip4, ip6 } = this.pod(name);
    return {
      namespace: 'test',
      name,
      uid: `test/${name}`,
      netns: resolveNetns(path),
      ip4,
      ip6,
      sidecarCgroup: resolveCgroup(this.#cgroup.add(contender, name, 'sidecar')),
      policy,
      acceleration: 'off',
    };
  }
}

/**
 * Two connections from one port to two destinations that REDIRECT makes one would be the same to connection tracking,
 * which then gives the later one another source port (nf_nat_core.c, get_unique_tuple). That is chance, and rarer the
 * sooner it forgets connections that ended.
 */
async function forgetSoon(pod: Netns): Promise<void> {
  const script =
    'for state in time_wait close; do echo 1 >"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_$state"; done';
  await run(within(pod, ['sh', '-ec', script]));
}
