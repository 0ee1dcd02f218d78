/**
 * A node with a pod for each contender: the mesh's own rules, our iptables backend, our eBPF backend, and eBPF in a pod
 * that has the mesh's rules already.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtObjects } from '../../src/datapath/ebpf/compile.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf/datapath.ts';
import { unenforceable } from '../../src/datapath/ebpf/enforceable.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { IptablesDatapath } from '../../src/datapath/iptables/datapath.ts';
import type { Tier } from '../../src/datapath/tier.ts';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { run } from '../../src/lab/command.ts';
import { type Netns, Topology, within } from '../../src/lab/topology.ts';
import { resolveCgroup } from '../../src/pod/cgroup.ts';
import { resolveNetns } from '../../src/pod/netns.ts';
import type { Workload } from '../../src/pod/workload.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { bedGuard } from '../fixtures/bed_guard.ts';
import { testBpffs } from '../fixtures/bpffs.ts';
import {
  type Case,
  EXCLUDED_HOST,
  type Identity,
  identityOf,
  PASSTHROUGH,
  PORTS,
  SECOND_ADDRESS,
  type Who,
} from './cases.ts';
import { type Family, type Mesh, oracleRules, policyOf } from './meshes.ts';
import { Connector, compileProbe, type Seen, serve } from './probe.ts';

/** `beside`: eBPF in a pod where an init container has put the mesh's own rules; `withdrawn`: the same pod afterwards. */
export const BACKENDS = ['iptables', 'ebpf', 'beside', 'withdrawn'] as const;
export type Backend = (typeof BACKENDS)[number];
/** What is left open to the eBPF backend. */
export interface EbpfChoice {
  /** The highest that it tries. */
  maxTier?: MaxTier | undefined;
  /** Directory of the compiled programs. */
  objects?: string;
}
export type MaxTier = Exclude<Tier, 0>;
export type Contender = 'oracle' | Backend;

/** Each has a pod. */
const CONTENDERS = ['oracle', 'iptables', 'ebpf', 'beside'] as const satisfies readonly Contender[];
type Pod = (typeof CONTENDERS)[number];
let serial = 0;

interface Enrolled {
  datapath: EbpfDatapath;
  cookie: bigint;
}

/** Somebody in a container of a pod, or `outside`, and where he connects. */
export interface Attempt extends Identity {
  /** Address that he is bound to; null = none. */
  source: string | null;
  host: string;
  port: number;
}

/** Who validates, before there is any other container: where it listens, and from and to where it connects. */
export interface Validation {
  uid: number;
  serve: readonly string[];
  source: string | null;
  host: string;
  port: number;
}

export class Bed implements AsyncDisposable {
  readonly mesh: Mesh;
  /** Why a backend takes no part, a sentence each. */
  readonly absent = new Map<Backend, string>();
  readonly #containers: 'all' | 'none';
  readonly #stack: AsyncDisposableStack;
  readonly #topology: Topology;
  readonly #cgroup: CgroupTree;
  readonly #folder: string;
  readonly #connectors = new Map<Pod | 'outside', Connector>();
  readonly #enrolled = new Map<Pod, Pick<EbpfDatapath, 'enroll'>>();
  #beside: Enrolled | null = null;

  private constructor(
    mesh: Mesh,
    parts: {
      containers: 'all' | 'none';
      stack: AsyncDisposableStack;
      topology: Topology;
      cgroup: CgroupTree;
      folder: string;
    },
  ) {
    this.mesh = mesh;
    this.#containers = parts.containers;
    this.#stack = parts.stack;
    this.#topology = parts.topology;
    this.#cgroup = parts.cgroup;
    this.#folder = parts.folder;
  }

  /** @param containers `none`: pods as a CNI plugin finds them, with no process and no cgroup of a container */
  static async open(
    mesh: Mesh,
    backends: readonly Backend[],
    containers: 'all' | 'none' = 'all',
    { maxTier, objects = builtObjects() }: EbpfChoice = {},
  ): Promise<Bed> {
    const prefix = `shunt-conf${process.pid}x${serial++}`;
    const stack = new AsyncDisposableStack();
    try {
      return await Bed.#build({ mesh, containers, maxTier, objects }, backends, prefix, stack);
    } catch (error) {
      await stack.disposeAsync();
      throw error;
    }
  }

  static async #build(
    { mesh, containers, maxTier, objects }: { mesh: Mesh; containers: 'all' | 'none' } & Required<EbpfChoice>,
    backends: readonly Backend[],
    prefix: string,
    stack: AsyncDisposableStack,
  ): Promise<Bed> {
    const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
    stack.use(bedGuard(prefix, folder));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    await run(['chmod', '755', folder]);
    const topology = stack.use(await Topology.make(prefix, CONTENDERS));
    const cgroup = stack.use(CgroupTree.make(prefix));
    const bed = new Bed(mesh, { containers, stack, topology, cgroup, folder });
    await bed.#start();
    await bed.#applyOracle('oracle');
    if (backends.includes('iptables')) await bed.#enrollIptables();
    if (backends.includes('ebpf')) await bed.#enrollEbpf('ebpf', { maxTier, objects });
    if (backends.includes('beside') || backends.includes('withdrawn')) {
      await bed.#applyOracle('beside');
      bed.#beside = await bed.#enrollEbpf('beside', { maxTier, objects });
    }
    return bed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  pod(contender: Contender): Netns {
    const pod = this.#topology.pods.get(podOf(contender));
    if (pod === undefined) throw new Error(`no pod ${contender}`);
    return pod;
  }

  address(contender: Contender | 'outside', family: Family): string {
    const { ip4, ip6 } = contender === 'outside' ? this.#topology.outside : this.pod(contender);
    const address = family === 4 ? ip4 : ip6;
    if (address === null) throw new Error(`no IPv${family} here`);
    return address;
  }

  async try(contender: Contender, { who, source, family, host, port }: Case): Promise<Seen> {
    const { container, ...owner } = identityOf(who, this.mesh);
    const connector = this.#connectors.get(who === 'outside' ? 'outside' : podOf(contender));
    if (connector === undefined) throw new Error(`nobody connects from ${contender}`);
    return connector.connect({
      ...owner,
      cgroup: who === 'outside' ? '-' : join(this.#container(contender, container), 'cgroup.procs'),
      source: source === 'default' ? null : PASSTHROUGH[family],
      host,
      port,
    });
  }

  /** A connection of anybody, from the pod or from the outside host to anywhere. */
  async connect(contender: Contender | 'outside', { container, ...attempt }: Attempt): Promise<Seen> {
    const place = contender === 'outside' ? contender : podOf(contender);
    const connector = this.#connectors.get(place);
    if (connector === undefined) throw new Error(`nobody connects from ${contender}`);
    const cgroup =
      contender === 'outside' ? '-' : join(this.#container(contender, container), 'cgroup.procs');
    return await connector.connect({ ...attempt, cgroup });
  }

  /** Replaces the policy of the pods of both backends, which were enrolled with that of the mesh. */
  async enforce(policy: RedirectPolicy): Promise<void> {
    for (const [contender, datapath] of this.#enrolled) {
      await datapath.enroll({ ...this.#workload(contender), policy });
    }
  }

  /** Who a process in a container of the pod is. */
  identity(contender: Contender, who: Who): { uid: number; gid: number; cgroup: string } {
    const { uid, gid, container } = identityOf(who, this.mesh);
    return { uid, gid, cgroup: this.#container(contender, container) };
  }

  /** What a validating init container sees. */
  async validate(contender: Contender, { uid, serve: where, source, host, port }: Validation): Promise<Seen> {
    const cgroup = this.#container(contender, 'validation');
    const place = { netns: this.pod(contender).path, cgroup, uid, gid: uid };
    const logFile = join(this.#folder, 'validation.log');
    await using _ = await serve(join(this.#folder, 'probe'), 'validator', where, { place, logFile });
    const connector = this.#connectors.get(podOf(contender));
    if (connector === undefined) throw new Error(`nobody connects from ${contender}`);
    const from = { cgroup: join(cgroup, 'cgroup.procs'), uid, gid: uid, source };
    return await connector.connect({ ...from, host, port });
  }

  #container(contender: Contender, name: string): string {
    return this.#cgroup.add(podOf(contender), name);
  }

  async #start(): Promise<void> {
    const { outside } = this.#topology;
    const program = await compileProbe(this.#folder);
    await run(within(outside, ['ip', 'address', 'add', `${EXCLUDED_HOST[4]}/24`, 'dev', 'eth0']));
    if (outside.ip6 !== null) {
      await run(within(outside, ['ip', 'address', 'add', `${EXCLUDED_HOST[6]}/64`, 'dev', 'eth0', 'nodad']));
    }
    const log = (name: string) => join(this.#folder, `${name}.log`);
    const any = (...ports: number[]) => ports.map((port) => `any:${port}`);
    const far = { place: { netns: outside.path }, logFile: log('outside') };
    this.#stack.use(await serve(program, 'outside', any(PORTS.app, PORTS.outExcluded), far));
    this.#connectors.set(
      'outside',
      this.#stack.use(await Connector.start(program, outside.path, log('far'))),
    );
    const { outbound, outboundHost, inbound } = this.mesh;
    const ports = any(PORTS.app, PORTS.inExcluded, PORTS.outExcluded, PORTS.tunnel, PORTS.health);
    for (const contender of CONTENDERS) {
      await addSecondInterface(this.pod(contender));
      const netns = this.pod(contender).path;
      this.#connectors.set(
        contender,
        this.#stack.use(await Connector.start(program, netns, log(`${contender}-connect`))),
      );
      if (this.#containers === 'none') continue;
      const at = (who: 'app' | 'sidecar') => {
        const { uid, gid, container } = identityOf(who, this.mesh);
        const cgroup = this.#container(contender, container);
        return { place: { netns, uid, gid, cgroup }, logFile: log(`${contender}-${who}`) };
      };
      this.#stack.use(await serve(program, 'app', ports, at('app')));
      const where = [`${outboundHost}:${outbound}`, `any:${inbound}`];
      this.#stack.use(await serve(program, 'sidecar', where, at('sidecar')));
    }
  }

  /** Packets that a REDIRECT rule of the mesh has taken in the contender's pod. */
  async ruleHits(contender: Contender): Promise<number> {
    const texts = await Promise.all(
      this.mesh.families.map((family) =>
        run(
          within(this.pod(contender), [family === 4 ? 'iptables-save' : 'ip6tables-save', '-c', '-t', 'nat']),
        ),
      ),
    );
    return [...texts.join('\n').matchAll(/^\[(\d+):\d+\].* -j REDIRECT/gm)].reduce(
      (sum, [, packets]) => sum + Number(packets),
      0,
    );
  }

  /** From `beside` to `withdrawn`: the rules of the mesh remain. */
  async withdrawBeside(): Promise<void> {
    if (this.#beside === null) throw new Error('nothing is enrolled beside the rules');
    await this.#beside.datapath.withdraw(this.#beside.cookie);
  }

  async #applyOracle(contender: Pod): Promise<void> {
    const pod = this.pod(contender);
    for (const family of this.mesh.families) {
      const tool = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
      await run(within(pod, [tool, '--noflush']), oracleRules(this.mesh, family));
    }
  }

  async #enrollIptables(): Promise<void> {
    const directory = join(this.#folder, 'agent');
    mkdirSync(directory);
    const datapath = this.#stack.use(new IptablesDatapath(directory));
    await datapath.enroll(this.#workload('iptables'));
    this.#enrolled.set('iptables', datapath);
  }

  async #enrollEbpf(
    contender: 'ebpf' | 'beside',
    { maxTier, objects }: Required<EbpfChoice>,
  ): Promise<Enrolled | null> {
    const reasons = unenforceable(policyOf(this.mesh));
    if (reasons.length > 0) {
      for (const backend of contender === 'ebpf' ? (['ebpf'] as const) : (['beside', 'withdrawn'] as const)) {
        this.absent.set(backend, reasons.join('; '));
      }
      return null;
    }
    mkdirSync(join(this.#folder, `${contender}-agent`));
    const bpffs = this.#stack.use(testBpffs());
    const datapath = this.#stack.use(
      await EbpfDatapath.start({
        pins: new Pins(bpffs.path),
        objectDirectory: objects,
        cgroup: resolveCgroup(this.#cgroup.add(contender)),
        acceleration: false,
        ...(maxTier === undefined ? {} : { maxTier }),
        rulesDirectory: join(this.#folder, `${contender}-agent`),
      }),
    );
    // Looked up once the data plane runs, which finds the namespace's cookie where the kernel does not tell it.
    const workload = this.#workload(contender);
    await datapath.enroll(workload);
    this.#enrolled.set(contender, datapath);
    return { datapath, cookie: workload.netns.cookie };
  }

  #workload(contender: Pod): Workload {
    const { path, ip4, ip6 } = this.pod(contender);
    return {
      namespace: 'test',
      name: contender,
      uid: `test/${contender}`,
      netns: resolveNetns(path),
      ip4,
      // A mesh of IPv4 alone runs in clusters of IPv4 alone.
      ip6: this.mesh.families.includes(6) ? ip6 : null,
      sidecarCgroup:
        this.#containers === 'none' ? null : resolveCgroup(this.#container(contender, 'sidecar')),
      policy: policyOf(this.mesh),
      acceleration: 'off',
    };
  }
}

/** An interface of its own, so that no address of it is chosen for what leaves by eth0. */
async function addSecondInterface(pod: Netns): Promise<void> {
  const inside = (...args: string[]) => run(within(pod, ['ip', ...args]));
  await inside('link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'far1');
  await inside('link', 'set', 'far1', 'up');
  await inside('link', 'set', 'eth1', 'up');
  await inside('address', 'add', `${SECOND_ADDRESS[4]}/24`, 'dev', 'eth1');
  if (pod.ip6 !== null) await inside('address', 'add', `${SECOND_ADDRESS[6]}/64`, 'dev', 'eth1', 'nodad');
}

function podOf(contender: Contender): Pod {
  return contender === 'withdrawn' ? 'beside' : contender;
}
