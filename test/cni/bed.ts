/** An agent that serves the CNI plugin, pods whose namespaces it hears of only from ADD, and a host outside. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { PodReport, StatusReport } from '../../src/agent/api.ts';
import { AgentClient } from '../../src/agent/client.ts';
import { ShuntError } from '../../src/errors.ts';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { attempt } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { podManifest } from '../../src/lab/manifest.ts';
import { attemptAt, LabProcess, type Place } from '../../src/lab/process.ts';
import { type Netns, OUTSIDE, Topology } from '../../src/lab/topology.ts';
import { pinFolder, type TestBpffs } from '../fixtures/bpffs.ts';
import { CLI } from '../fixtures/cli.ts';
import { netconf, type PluginRun, podArgs, runPlugin } from './plugin.ts';

export const APP_UID = 10_001;
export const SIDECAR_UID = 1337;
const ECHO_PORT = 8080;

/** Accepts on ports and says who it is and where the connection was going, as far as the socket knows. */
const SERVER = `
const net = require('node:net');
const [who, ...ports] = process.argv.slice(1);
let left = ports.length;
for (const port of ports) net.createServer((s) => { s.on('error', () => {}); s.end(who + ' ' + s.localPort + '\\n'); })
  .listen(Number(port), '0.0.0.0', () => { if (--left === 0) process.stdout.write('listening\\n'); });
`;

export interface BedPod {
  name: string;
  uid: string;
  netns: Netns;
  containerId: string;
}

export class CniBed implements AsyncDisposable {
  readonly folder: string;
  readonly topology: Topology;
  readonly cniSocket: string;
  readonly client: AgentClient;
  readonly #cgroup: CgroupTree;
  readonly #pins: TestBpffs;
  readonly #stack = new AsyncDisposableStack();
  /** How the CLI is run for the agent: from source, unless somebody says otherwise before it is started. */
  cli = CLI;
  #agent: LabProcess | null = null;

  private constructor(folder: string, topology: Topology, cgroup: CgroupTree, pins: TestBpffs) {
    this.folder = folder;
    this.topology = topology;
    this.#cgroup = cgroup;
    this.#pins = pins;
    this.cniSocket = join(folder, 'run', 'cni.sock');
    this.client = new AgentClient(join(folder, 'run', 'agent.sock'));
  }

  /** @param pods names, in the order of their addresses; none has a manifest yet */
  static async open(label: string, pods: readonly string[]): Promise<CniBed> {
    const prefix = `shunt-${label}${process.pid}`;
    const folder = mkdtempSync(join(tmpdir(), 'shunt-cni-'));
    mkdirSync(join(folder, 'pods'));
    const pins = pinFolder(prefix);
    const cgroup = CgroupTree.make(prefix);
    return new CniBed(folder, await Topology.make(prefix, pods), cgroup, pins);
  }

  /** @param more options of the agent */
  async start(...more: string[]): Promise<StatusReport> {
    const [file, ...words] = this.cli;
    this.#agent = await LabProcess.start(
      'agent',
      [
        file,
        ...words,
        'agent',
        ...['--pods', join(this.folder, 'pods'), '--cgroup', this.#cgroup.path, '--bpffs', this.#pins.path],
        ...['--socket', this.client.socket, '--cni-socket', this.cniSocket],
        ...more,
      ],
      { logFile: join(this.folder, 'agent.log') },
    );
    return await until(
      async () => {
        this.#agent?.assertRunning();
        return await this.client.status().catch((error: unknown) => {
          if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
          throw error;
        });
      },
      { what: 'the agent', timeoutMs: 30_000 },
    );
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    await this.#agent?.stop(signal, 10_000);
    this.#agent = null;
  }

  /** The cgroup that the agent attaches to, as cgroup_parent of a runtime. */
  get cgroupName(): string {
    return `/${basename(this.#cgroup.path)}`;
  }

  log(): string {
    return readFileSync(join(this.folder, 'agent.log'), 'utf8');
  }

  pod(name: string): BedPod {
    const netns = this.topology.pods.get(name);
    if (netns === undefined) throw new Error(`no pod ${name}`);
    return { name, uid: `uid-${name}`, netns, containerId: `sandbox-${name}` };
  }

  /** Writes the pod's manifest as its source would have it before the sandbox: no namespace, no address. */
  write(
    { name, uid }: Pick<BedPod, 'name' | 'uid'>,
    options: { meshed?: boolean; annotations?: Record<string, string> } = {},
  ): void {
    const { meshed = true, annotations = {} } = options;
    const injected = podManifest({ name, uid, annotations, netns: '', cgroup: '', podIPs: [] });
    const pod = JSON.parse(JSON.stringify(injected));
    delete pod.metadata.annotations['shunt.dev/netns'];
    delete pod.metadata.annotations['shunt.dev/cgroup'];
    delete pod.status;
    if (!meshed) {
      pod.metadata.annotations = {};
      pod.metadata.labels = {};
      pod.spec.containers = [{ name: 'app', image: 'app:1.0' }];
      delete pod.spec.initContainers;
    }
    writeFileSync(join(this.folder, 'pods', `${name}.json`), JSON.stringify(pod));
  }

  /** Waits until the agent knows the pod. */
  known({ name }: BedPod): Promise<PodReport> {
    return this.settled((pods) => pods.find((pod) => pod.name === name));
  }

  settled<T>(seen: (pods: PodReport[]) => T | undefined): Promise<T> {
    return until(async () => seen(await this.client.pods()), {
      what: 'the agent to take it',
      timeoutMs: 60_000,
    });
  }

  /** The plugin's configuration on this bed. */
  config(pod: BedPod | null, fields: Record<string, unknown> = {}): string {
    const result =
      pod &&
      JSON.stringify({
        cniVersion: '1.0.0',
        interfaces: [{ name: 'eth0', sandbox: pod.netns.path }],
        ips: [pod.netns.ip4, pod.netns.ip6].flatMap((ip) => (ip === null ? [] : [{ address: `${ip}/24` }])),
      });
    return netconf({ socket: this.cniSocket, left: join(this.folder, 'run', 'left'), ...fields }, result);
  }

  call(command: string, pod: BedPod, fields: Record<string, unknown> = {}): Promise<PluginRun> {
    const { name, uid, netns, containerId } = pod;
    const env = { containerId, netns: netns.path, args: podArgs('default', name, uid) };
    return runPlugin(command, env, this.config(pod, fields));
  }

  /** A process of the pod; its container is in the cgroup that the agent attaches to. */
  place({ netns, name }: BedPod, uid: number): Place {
    return { netns: netns.path, cgroup: this.#cgroup.add(`pod-${name}`), uid, gid: uid };
  }

  /** Starts a server until the bed is closed. */
  async serve(place: Place, who: string, ...ports: number[]): Promise<LabProcess> {
    const logFile = join(this.folder, `${who}.log`);
    const argv = [process.execPath, '-e', SERVER, who, ...ports.map(String)] as const;
    const server = this.#stack.use(await LabProcess.start(who, argv, { place, logFile }));
    await until(() => readFileSync(logFile, 'utf8').includes('listening') || undefined, { what: who });
    return server;
  }

  async serveOutside(): Promise<void> {
    await this.serve({ netns: this.topology.outside.path }, 'outside', ECHO_PORT);
  }

  /** What answers a connection to the host outside, or `refused`. */
  outbound(pod: BedPod, uid: number): Promise<string> {
    return this.#connect(this.place(pod, uid), OUTSIDE.ip4, ECHO_PORT);
  }

  /** What answers a connection from the host outside to a port of the pod, or `refused`. */
  inbound(pod: BedPod, port: number): Promise<string> {
    return this.#connect({ netns: this.topology.outside.path }, pod.netns.ip4, port);
  }

  /** Takes the pod's inbound attachment out of the kernel, behind the agent's back. */
  async breakInbound(cookie: string): Promise<void> {
    const pin = readdirSync(join(this.#pins.path, 'shunt'), { recursive: true, encoding: 'utf8' }).find(
      (name) => name.includes(cookie),
    );
    if (pin === undefined) throw new Error(`nothing is pinned for ${cookie}`);
    rmSync(join(this.#pins.path, 'shunt', pin), { recursive: true });
  }

  async #connect(place: Place, ip: string, port: number): Promise<string> {
    const script = `exec 3<>/dev/tcp/${ip}/${port} && head -n1 <&3`;
    const { code, stdout, stderr } = await attemptAt(place, ['timeout', '5', 'bash', '-c', script]);
    if (code === 0) return stdout.trim();
    return stderr.includes('Connection refused') ? 'refused' : `failed: ${stderr.trim()}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
    await attempt([...CLI, 'cleanup', '--bpffs', this.#pins.path, '--socket', this.client.socket]);
    await this.#stack.disposeAsync();
    await this.#cgroup[Symbol.asyncDispose]();
    await this.topology[Symbol.asyncDispose]();
    this.#pins[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
