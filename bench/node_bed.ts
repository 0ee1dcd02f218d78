/** An agent as it is installed (the bundle, with the CNI plugin), and network namespaces for as many pods as are asked for. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentClient } from '../src/agent/client.ts';
import { removePins } from '../src/cli/demo/pins.ts';
import { CgroupTree } from '../src/lab/cgroup.ts';
import { Claim } from '../src/lab/claim.ts';
import { run } from '../src/lab/command.ts';
import { until } from '../src/lab/deadline.ts';
import { atExit } from '../src/lab/exit_guard.ts';
import { SIDECAR_CONTAINER } from '../src/lab/istio.ts';
import { podManifest } from '../src/lab/manifest.ts';
import { LabProcess } from '../src/lab/process.ts';

const PREFIX = 'shunt-benchnode';
const ROOT = join(import.meta.dirname, '..');
/** As a user runs it, not from source. */
export const INSTALLED = [process.execPath, join(ROOT, 'src/cli/launch.js')] as const;
/** As the image runs it: its entry point's flags of Node, and its settings of the allocator. */
const CONTAINERFILE = readFileSync(join(ROOT, 'daemonset/Containerfile'), 'utf8');
const NODE_FLAGS = CONTAINERFILE.match(/^ENTRYPOINT .*$/m)?.[0].match(/--[\w=-]+/g) ?? [];
export const AS_IN_IMAGE = [process.execPath, ...NODE_FLAGS, INSTALLED[1]] as const;
const ALLOCATOR = Object.fromEntries(
  [...CONTAINERFILE.matchAll(/\b(MALLOC_\w+)=(\d+)/g)].map(([, name = '', value = '']) => [name, value]),
);
const READY_MS = 60_000;
/** Programs run at once while namespaces are made. */
const AT_ONCE = 8;

export interface BedPod {
  name: string;
  uid: string;
  netns: string;
  ip: string;
}

export class NodeBed implements AsyncDisposable {
  readonly bpffs: string;
  /** For programs of whoever uses it; gone with it. */
  readonly programs: string;
  readonly cniSocket: string;
  readonly client: AgentClient;
  readonly pods: readonly BedPod[];
  readonly agent: LabProcess;
  readonly #manifests: string;
  readonly #cgroup: CgroupTree;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    { folder, programs }: Claim,
    bpffs: string,
    pods: readonly BedPod[],
    cgroup: CgroupTree,
    agent: LabProcess,
    stack: AsyncDisposableStack,
  ) {
    this.bpffs = bpffs;
    this.programs = programs;
    this.cniSocket = join(folder, 'cni.sock');
    this.client = new AgentClient(join(folder, 'agent.sock'));
    this.pods = pods;
    this.agent = agent;
    this.#manifests = join(folder, 'pods');
    this.#cgroup = cgroup;
    this.#stack = stack;
  }

  /**
   * What a bench that was killed left under the same name goes first.
   *
   * @param bpffs BPF file system; the pins stand in a directory of their own
   * @throws SHUNT_E_LAB_IN_USE when another bench is at it
   */
  static async open(bpffs: string, podCount: number, prefix = PREFIX): Promise<NodeBed> {
    await using stack = new AsyncDisposableStack();
    const claim = stack.use(Claim.take(prefix));
    const pins = join(bpffs, prefix);
    const removeAllPins = (): void => rmSync(pins, { recursive: true, force: true });
    stack.use(
      atExit(() => {
        claim[Symbol.dispose]();
        removeAllPins();
      }, true),
    );
    const { folder } = claim;
    mkdirSync(join(folder, 'pods'));
    removeAllPins();
    mkdirSync(pins, { mode: 0o700 });
    stack.defer(removeAllPins);
    const cgroup = stack.use(CgroupTree.make(prefix));
    const pods = Array.from({ length: podCount }, (_, index) => bedPod(prefix, index));
    await makeNamespaces(pods);
    stack.defer(() => removePins({ cli: INSTALLED, socket: join(folder, 'agent.sock'), bpffs: pins }));
    const places = ['--pods', join(folder, 'pods'), '--cgroup', cgroup.path, '--bpffs', pins];
    const sockets = ['--socket', join(folder, 'agent.sock'), '--cni-socket', join(folder, 'cni.sock')];
    const agent = stack.use(
      await LabProcess.start('agent', [...AS_IN_IMAGE, 'agent', ...places, ...sockets], {
        logFile: join(folder, 'agent.log'),
        env: ALLOCATOR,
      }),
    );
    await until(
      () => {
        agent.assertRunning();
        return readFileSync(agent.logFile, 'utf8').includes('"event":"ready"') || undefined;
      },
      { what: 'the agent', timeoutMs: READY_MS },
    );
    return new NodeBed(claim, pins, pods, cgroup, agent, stack.move());
  }

  /**
   * Writes the pod's manifest in one step.
   *
   * @param whereabouts with namespace and address, or as before the sandbox is made, when ADD tells of it
   */
  write(pod: BedPod, whereabouts: boolean): void {
    const { name, uid, netns, ip } = pod;
    const cgroup = join(this.#cgroup.path, name);
    if (whereabouts) this.#cgroup.add(name, SIDECAR_CONTAINER);
    const manifest = podManifest({ name, uid, netns, cgroup, podIPs: [ip] });
    const written = whereabouts ? manifest : withoutPlace(manifest);
    const draft = join(this.#manifests, `.${name}`);
    writeFileSync(draft, JSON.stringify(written));
    renameSync(draft, join(this.#manifests, `${name}.json`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function bedPod(prefix: string, index: number): BedPod {
  const name = `${prefix}-${index}`;
  return { name, uid: `uid-${index}`, netns: `/run/netns/${name}`, ip: `10.99.${index >> 8}.${index & 255}` };
}

function withoutPlace(manifest: object): object {
  const pod = JSON.parse(JSON.stringify(manifest));
  delete pod.metadata.annotations['shunt.dev/netns'];
  delete pod.metadata.annotations['shunt.dev/cgroup'];
  delete pod.status;
  return pod;
}

async function makeNamespaces(pods: readonly BedPod[]): Promise<void> {
  await batch(pods.map(({ name }) => `netns add ${name}`));
  for (let at = 0; at < pods.length; at += AT_ONCE) {
    await Promise.all(
      pods
        .slice(at, at + AT_ONCE)
        .map(({ name, ip }) => run(['ip', '-n', name, 'addr', 'add', `${ip}/32`, 'dev', 'lo'])),
    );
  }
}

async function batch(lines: readonly string[]): Promise<void> {
  await run(['ip', '-force', '-batch', '-'], `${lines.join('\n')}\n`);
}
