/** A whole cluster of one node, on the machine that machine.sh makes: every program of Kubernetes that a pod's way takes. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { ShuntError } from '../../src/errors.ts';
import { run } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { KubeError } from '../../src/pod/kubernetes/kube_error.ts';
import { Containerd, IMAGE } from '../cni/drivers/containerd.ts';
import { API_SERVICE, Cluster } from '../kube/cluster.ts';

/** As machine.sh gives it. */
const ADDRESS = '10.88.0.2';
const NAME = 'node1';
const PLUGINS = '/usr/lib/cni';
const PRIMARY = ['bridge', 'host-local', 'loopback'];
export const NET_DIR = '/etc/cni/net.d';
export const BIN_DIR = '/opt/cni/bin';

const Node = v.object({
  status: v.object({ conditions: v.array(v.object({ type: v.string(), status: v.string() })) }),
});
const Pods = v.object({
  items: v.array(
    v.object({
      metadata: v.object({ name: v.string(), uid: v.string(), deletionTimestamp: v.optional(v.string()) }),
      status: v.object({
        podIP: v.optional(v.string()),
        conditions: v.optional(v.array(v.object({ type: v.string(), status: v.string() })), []),
        initContainerStatuses: v.optional(
          v.array(
            v.object({
              name: v.string(),
              state: v.object({ terminated: v.optional(v.object({ exitCode: v.number() })) }),
            }),
          ),
          [],
        ),
        containerStatuses: v.optional(v.array(v.object({ restartCount: v.number() })), []),
      }),
    }),
  ),
});
export type RunningPod = {
  /** Init containers that have ended well. */
  passed: string[];
  name: string;
  uid: string;
  address: string;
  ready: boolean;
  restarts: number;
};

export class ClusterNode implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly folder: string;
  readonly #signal: AbortSignal;
  readonly #stack = new AsyncDisposableStack();
  readonly #processes: LabProcess[] = [];

  private constructor(cluster: Cluster, folder: string, signal: AbortSignal) {
    this.cluster = cluster;
    this.folder = folder;
    this.#signal = signal;
  }

  /** @param images archives that the runtime is given, by the name that pods use */
  static async start(images: Record<string, string>, signal: AbortSignal): Promise<ClusterNode> {
    const cluster = await Cluster.start(signal, { node: { name: NAME, address: ADDRESS } });
    const node = new ClusterNode(cluster, mkdtempSync(join(tmpdir(), 'shunt-node-')), signal);
    try {
      await node.#start(images);
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(images: Record<string, string>): Promise<void> {
    const { cluster, folder } = this;
    for (const directory of [NET_DIR, BIN_DIR, '/var/lib/kubelet', '/var/log/pods']) {
      mkdirSync(directory, { recursive: true });
    }
    for (const file of readdirSync(NET_DIR)) rmSync(join(NET_DIR, file), { recursive: true });
    for (const name of PRIMARY) cpSync(join(PLUGINS, name), join(BIN_DIR, name));
    const bridge = {
      ...{ type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true },
      ipam: {
        ...{ type: 'host-local', dataDir: join(folder, 'ipam'), ranges: [[{ subnet: '10.77.0.0/24' }]] },
        routes: [{ dst: '0.0.0.0/0' }],
      },
    };
    const list = { cniVersion: '1.0.0', name: 'net', plugins: [bridge] };
    writeFileSync(join(NET_DIR, '10-net.conflist'), JSON.stringify(list));
    // What kube-proxy would make of the one Service that the agent uses.
    const service = ['-d', API_SERVICE, '-p', 'tcp', '--dport', '443'];
    const target = ['-j', 'DNAT', '--to-destination', `${ADDRESS}:${cluster.port}`];
    for (const chain of ['OUTPUT', 'PREROUTING']) {
      await run(['iptables', '-t', 'nat', '-A', chain, ...service, ...target]);
    }
    const containerd = this.#stack.use(
      await Containerd.start({
        ...{ folder, netDir: NET_DIR, binDir: BIN_DIR, cgroup: 'kubepods', snapshotter: 'overlayfs' },
      }),
    );
    for (const [name, archive] of Object.entries(images)) await importImage(containerd.socket, name, archive);
    const admin = cluster.kubeconfig('admin');
    const own = (program: string) => [
      `--kubeconfig=${admin}`,
      '--leader-elect=false',
      `--cert-dir=${join(folder, program)}`,
    ];
    await this.#run('kube-controller-manager', [
      ...own('kcm'),
      `--service-account-private-key-file=${join(cluster.folder, 'server.key')}`,
      `--root-ca-file=${join(cluster.folder, 'server.crt')}`,
    ]);
    await this.#run('kube-scheduler', own('scheduler'));
    await this.#run('kubelet', [
      `--config=${this.#kubeletConfig(containerd.socket)}`,
      `--kubeconfig=${cluster.kubeconfig('node')}`,
      ...[`--hostname-override=${NAME}`, `--node-ip=${ADDRESS}`],
      ...[`--root-dir=/var/lib/kubelet`, `--cert-dir=${join(folder, 'kubelet')}`],
    ]);
    await this.until('the node to be ready', async () => {
      const node = v.parse(Node, await cluster.admin.get(`/api/v1/nodes/${NAME}`, {}, this.#signal));
      return (
        node.status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True') || undefined
      );
    });
  }

  #kubeletConfig(socket: string): string {
    const path = join(this.folder, 'kubelet.yaml');
    const config = {
      ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' },
      ...{ cgroupDriver: 'cgroupfs', cgroupRoot: '/', failCgroupV1: false, failSwapOn: false },
      ...{ containerRuntimeEndpoint: `unix://${socket}`, oomScoreAdj: 0, address: ADDRESS, readOnlyPort: 0 },
      ...{ authentication: { anonymous: { enabled: false }, webhook: { enabled: false } } },
      ...{ authorization: { mode: 'AlwaysAllow' }, nodeStatusUpdateFrequency: '1s', syncFrequency: '2s' },
      evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
      ...{
        imageGCHighThresholdPercent: 100,
        imageGCLowThresholdPercent: 99,
        localStorageCapacityIsolation: false,
      },
    };
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  /** Looks until there is an answer; what the server does not know or cannot do yet is none. */
  until<T>(what: string, look: () => Promise<T | undefined>, timeoutMs = 120_000): Promise<T> {
    return until(
      async () => {
        for (const process of this.#processes) process.assertRunning();
        return await look().catch((error: unknown) => {
          if (error instanceof KubeError) return undefined;
          throw error;
        });
      },
      { what, timeoutMs, everyMs: 100 },
    );
  }

  /** Pods of a label that are not being deleted. */
  async pods(namespace: string, labelSelector: string): Promise<RunningPod[]> {
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const { items } = v.parse(Pods, await this.cluster.admin.get(path, { labelSelector }, this.#signal));
    return items
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .map(({ metadata: { name, uid }, status }) => ({
        ...{ name, uid, address: status.podIP ?? '' },
        passed: status.initContainerStatuses.flatMap(({ name, state }) =>
          state.terminated?.exitCode === 0 ? [name] : [],
        ),
        ready: status.conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
        restarts: status.containerStatuses.reduce((sum, { restartCount }) => sum + restartCount, 0),
      }));
  }

  /** So many pods of a label, all ready. */
  ready(namespace: string, label: string, count: number): Promise<RunningPod[]> {
    return this.until(`${count} pods with ${label} to be ready`, async () => {
      const pods = await this.pods(namespace, label);
      return pods.length === count && pods.every((pod) => pod.ready) ? pods : undefined;
    });
  }

  /** What a container of a pod has printed, line by line. */
  output(namespace: string, pod: RunningPod, container: string): string[] {
    const file = join('/var/log/pods', `${namespace}_${pod.name}_${pod.uid}`, container, '0.log');
    if (!existsSync(file)) return [];
    return [...readFileSync(file, 'utf8').matchAll(/^\S+ stdout F (.*)$/gm)].map(([, line]) => line ?? '');
  }

  /** The last lines that the containers of a namespace printed, for a test that failed. */
  lastWords(namespace: string): string {
    const files = readdirSync('/var/log/pods', { recursive: true, encoding: 'utf8' });
    return files
      .filter((file) => file.startsWith(`${namespace}_`) && file.endsWith('.log'))
      .map((file) => {
        const lines = readFileSync(join('/var/log/pods', file), 'utf8').trimEnd().split('\n');
        return `${file}:\n${lines.slice(-4).join('\n')}`;
      })
      .join('\n');
  }

  async #run(name: string, args: string[]): Promise<void> {
    const program = join(this.cluster.binaries, name);
    if (!existsSync(program)) throw new ShuntError('SHUNT_E_LAB_TOOL', `there is no ${name} in .cache/kube`);
    const logFile = join(this.folder, `${name}.log`);
    const process = await LabProcess.start(name, [program, ...args], { logFile });
    this.#processes.push(this.#stack.use(process));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    await this.cluster[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Archives name their image in their own way, or not at all. */
async function importImage(socket: string, name: string, archive: string): Promise<void> {
  const ctr = (...args: string[]) => run(['ctr', '-a', socket, '-n', 'k8s.io', 'images', ...args]);
  const before = new Set((await ctr('ls', '-q')).split('\n'));
  await ctr('import', archive);
  const [found] = (await ctr('ls', '-q')).split('\n').filter((line) => line !== '' && !before.has(line));
  if (found !== undefined && found !== name) await ctr('tag', found, name);
}

export { IMAGE };
