/**
 * A node of real parts: API server, container runtime with its CNI chain, and the agent out of the image. What
 * scheduler and kubelet would do is done here, call by call.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PodReport } from '../../src/agent/api.ts';
import type { AgentClient } from '../../src/agent/client.ts';
import { ShuntError } from '../../src/errors.ts';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { until } from '../../src/lab/deadline.ts';
import { podManifest } from '../../src/lab/manifest.ts';
import { Topology } from '../../src/lab/topology.ts';
import { Containerd } from '../cni/drivers/containerd.ts';
import { ImageBed } from '../image/bed.ts';
import { type Container, NODE_NAME } from '../image/container.ts';
import { Cluster } from '../kube/cluster.ts';
import { NodePod } from './pod.ts';

/** Where Debian and Ubuntu put containernetworking-plugins. */
const PLUGINS = '/usr/lib/cni';
const PRIMARY = ['bridge', 'host-local', 'loopback'];
const CONFLIST = '10-node.conflist';
const ACCOUNT = { namespace: 'kube-system', name: 'shunt' };
export const AGENT_USER = `system:serviceaccount:${ACCOUNT.namespace}:${ACCOUNT.name}`;
export const NAMESPACE = 'shop';

export class NodeBed implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly image: ImageBed;
  readonly containerd: Containerd;
  /** Above the pods, as the kubelet makes it. */
  readonly kubepods: string;
  readonly #account: string;
  readonly #signal: AbortSignal;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<NodeBed, 'cluster' | 'image' | 'containerd' | 'kubepods'>,
    account: string,
    signal: AbortSignal,
    stack: AsyncDisposableStack,
  ) {
    this.cluster = parts.cluster;
    this.image = parts.image;
    this.containerd = parts.containerd;
    this.kubepods = parts.kubepods;
    this.#account = account;
    this.#signal = signal;
    this.#stack = stack;
  }

  /** @throws SHUNT_E_LAB_TOOL without an API server, Error without an image */
  static async open(label: string, signal: AbortSignal): Promise<NodeBed> {
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(await Cluster.start(signal));
    await cluster.applyRbac();
    const metadata = { name: NAMESPACE };
    await cluster.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata });
    const account = await cluster.serviceAccount(ACCOUNT.namespace, ACCOUNT.name);
    const image = stack.use(new ImageBed(label));
    const topology = stack.use(await Topology.make(image.prefix, []));
    const tree = stack.use(CgroupTree.make(image.prefix));
    const binDir = join(image.folder, 'bin');
    mkdirSync(binDir, { recursive: true });
    for (const name of PRIMARY) cpSync(join(PLUGINS, name), join(binDir, name));
    const primary = {
      ...{ type: 'bridge', bridge: 'ctr0', isGateway: true },
      ipam: {
        ...{ type: 'host-local', dataDir: join(image.folder, 'ipam') },
        ...{ ranges: [[{ subnet: '10.77.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
    };
    const list = { cniVersion: '1.0.0', name: 'net', plugins: [primary] };
    writeFileSync(join(image.netDir, CONFLIST), JSON.stringify(list));
    const containerd = stack.use(
      await Containerd.start({
        ...{ folder: image.folder, netDir: image.netDir, binDir, netns: topology.node.path },
        cgroup: image.prefix,
      }),
    );
    const parts = { cluster, image, containerd, kubepods: tree.add('kubepods') };
    return new NodeBed(parts, account, signal, stack.move());
  }

  get client(): AgentClient {
    return this.image.client;
  }

  get conflist(): string {
    return join(this.image.netDir, CONFLIST);
  }

  /** CNI plugins that are on the node. */
  plugins(): string[] {
    return readdirSync(join(this.image.folder, 'bin')).sort();
  }

  /** Addresses that the primary plugin has given out. */
  leases(): string[] {
    const folder = join(this.image.folder, 'ipam', 'net');
    return existsSync(folder) ? readdirSync(folder).filter((name) => /^\d/.test(name)) : [];
  }

  /** Records of sandboxes that the agent keeps. */
  attachments(): string[] {
    return readdirSync(join(this.image.folder, 'run', 'attachments'));
  }

  /** Entries of each pinned map, as the agent counts them. */
  async mapEntries(): Promise<Record<string, number | null>> {
    const { maps } = await this.client.status();
    return Object.fromEntries(maps.map(({ name, entries }) => [name, entries]));
  }

  /** The DaemonSet's container, with the token of its service account; returns when the agent answers. */
  async startAgent(): Promise<Container> {
    const place = { cgroup: this.kubepods, account: this.#account, port: this.cluster.port };
    const agent = await this.image.startAgent(place);
    await until(
      async () => {
        agent.assertRunning();
        return await this.client.status().catch((error: unknown) => {
          if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
          throw error;
        });
      },
      { what: 'the agent', timeoutMs: 60_000, everyMs: 50 },
    );
    return agent;
  }

  /** Makes a pod as Istio's injector leaves it, and binds it to this node. */
  async schedule(name: string): Promise<NodePod> {
    const injected = podManifest({ name, namespace: NAMESPACE, netns: '', cgroup: '', podIPs: [] });
    const object = JSON.parse(JSON.stringify(injected));
    for (const key of ['netns', 'cgroup']) delete object.metadata.annotations[`shunt.dev/${key}`];
    delete object.metadata.uid;
    delete object.status;
    const { uid } = await this.cluster.create(`/api/v1/namespaces/${NAMESPACE}/pods`, object);
    await this.cluster.bind(NAMESPACE, name, NODE_NAME);
    const { folder, prefix } = this.image;
    return new NodePod({
      ...{ name, uid, namespace: NAMESPACE, folder: join(folder, 'pods', name) },
      ...{ cri: this.containerd.cri, cluster: this.cluster, signal: this.#signal },
      cgroupParent: `/${prefix}/kubepods/pod${uid}`,
    });
  }

  settled<T>(what: string, seen: (pods: PodReport[]) => T | undefined): Promise<T> {
    return until(async () => seen(await this.client.pods()), { what, timeoutMs: 30_000, everyMs: 20 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
