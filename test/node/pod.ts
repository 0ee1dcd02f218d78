/** One pod as a kubelet runs it: a sandbox and containers by CRI, its status told to the API server. */
import { chownSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AccessLog } from '../../src/lab/access_log.ts';
import { cgroup2Mount, processesIn } from '../../src/lab/cgroup.ts';
import { until } from '../../src/lab/deadline.ts';
import { APP_ID } from '../../src/lab/host.ts';
import {
  INBOUND_PORT,
  OUTBOUND_PORT,
  SIDECAR_CONTAINER,
  SIDECAR_GID,
  SIDECAR_UID,
} from '../../src/lab/istio.ts';
import { listeningPorts } from '../../src/lab/listening.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';
import { IMAGE } from '../cni/drivers/containerd.ts';
import type { Cri, SandboxConfig } from '../cni/drivers/cri.ts';
import type { Cluster } from '../kube/cluster.ts';

const { envoy: ENVOY } = SIDECARS;
const SIDECAR_FILES = { configFile: '/sidecar/envoy.json', accessLogFile: '/sidecar/access.log', ip6: false };
/** The image of these tests is one static program: Envoy finds its loader and libc in the node's. */
const LIBRARIES = ['/lib', '/lib64'].filter((path) => existsSync(path));

export interface NodePodOptions {
  name: string;
  namespace: string;
  uid: string;
  cri: Cri;
  cluster: Cluster;
  signal: AbortSignal;
  /** Takes logs and the sidecar's configuration. */
  folder: string;
  cgroupParent: string;
}

export class NodePod {
  readonly name: string;
  readonly uid: string;
  /** Of its Envoy. */
  readonly accessLog: AccessLog;
  readonly #options: NodePodOptions;
  readonly #config: SandboxConfig;
  readonly #containers: { name: string; id: string }[] = [];
  #sandbox = '';
  #address = '';

  constructor(options: NodePodOptions) {
    const { name, namespace, uid, cgroupParent, folder } = options;
    this.name = name;
    this.uid = uid;
    this.#options = options;
    this.#config = { name, namespace, uid, cgroupParent, logDirectory: join(folder, 'logs') };
    this.accessLog = new AccessLog(join(folder, 'sidecar', 'access.log'), ENVOY.parse);
  }

  /** IPv4, once the sandbox is there. */
  get address(): string {
    return this.#address;
  }

  /** Of the sandbox. */
  netns(): Promise<string> {
    return this.#options.cri.netns(this.#sandbox);
  }

  /** Has the runtime make the sandbox, which calls ADD of the chain. */
  async runSandbox(): Promise<void> {
    this.#sandbox = await this.#options.cri.runPodSandbox(this.#config);
    this.#address = await this.#options.cri.address(this.#sandbox);
  }

  /** Starts Envoy as the injector has it, waits until it listens, and reports it. */
  async runSidecar(): Promise<void> {
    const folder = join(this.#options.folder, 'sidecar');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'envoy.json'), ENVOY.config(SIDECAR_FILES));
    writeFileSync(join(folder, 'access.log'), '');
    chownSync(join(folder, 'access.log'), SIDECAR_UID, SIDECAR_GID);
    const program = ENVOY.locate();
    const [, ...args] = ENVOY.argv('', SIDECAR_FILES);
    const id = await this.#options.cri.run(this.#sandbox, this.#config, {
      ...{ name: SIDECAR_CONTAINER, image: IMAGE, uid: SIDECAR_UID, gid: SIDECAR_GID },
      ...{ command: [join('/envoy', 'envoy')], args },
      mounts: [
        ...LIBRARIES.map((path) => ({ source: realpathSync(path), destination: path, readOnly: true })),
        { source: dirname(realpathSync(program)), destination: '/envoy', readOnly: true },
        { source: folder, destination: '/sidecar', readOnly: false },
      ],
    });
    this.#containers.push({ name: SIDECAR_CONTAINER, id });
    await this.#listening(id, [OUTBOUND_PORT, INBOUND_PORT]);
    await this.#report();
  }

  /** Starts an application that tells whoever connects by which address it came. */
  async serve(port: number): Promise<void> {
    const id = await this.#run('app', ['serve', String(port)]);
    await this.#listening(id, [port]);
  }

  /** What a container of the application sees that connects once, as its first and only act. */
  async connecting(container: string, to: string, port: number): Promise<string> {
    await this.#run(container, ['connect', to, String(port)]);
    const file = join(this.#config.logDirectory, `${container}.log`);
    return await until(
      () => (existsSync(file) && /stdout F (.*)\n/.exec(readFileSync(file, 'utf8'))?.[1]) || undefined,
      { what: `the output of ${container}` },
    );
  }

  /** As the kubelet does, when the pod was deleted: the sandbox goes, and then the object. */
  async delete(): Promise<void> {
    const { cri, cluster, namespace, name, signal } = this.#options;
    await cri.stopPodSandbox(this.#sandbox);
    await cri.removePodSandbox(this.#sandbox);
    const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
    await cluster.admin.delete(path, { gracePeriodSeconds: 0 }, signal);
  }

  async #run(name: string, args: readonly string[]): Promise<string> {
    const container = { name, image: IMAGE, args, uid: APP_ID, gid: APP_ID };
    return await this.#options.cri.run(this.#sandbox, this.#config, container);
  }

  #listening(id: string, ports: readonly number[]): Promise<true> {
    const cgroup = join(cgroup2Mount(), this.#config.cgroupParent, id);
    return until(
      () => {
        const [pid] = processesIn(cgroup);
        if (pid === undefined) return undefined;
        const { ip4 } = listeningPorts(pid);
        return ports.every((port) => ip4.has(port)) ? true : undefined;
      },
      { what: `somebody in ${this.name} to listen on ${ports.join(', ')}`, timeoutMs: 30_000 },
    );
  }

  async #report(): Promise<void> {
    const running = { running: { startedAt: new Date().toISOString() } };
    const { cluster, namespace, name } = this.#options;
    await cluster.patchStatus(namespace, name, {
      phase: 'Running',
      podIP: this.#address,
      podIPs: [{ ip: this.#address }],
      initContainerStatuses: this.#containers.map((container) => ({
        ...{
          name: container.name,
          containerID: `containerd://${container.id}`,
          image: IMAGE,
          imageID: IMAGE,
        },
        ...{ ready: true, started: true, restartCount: 0, state: running },
      })),
    });
  }
}
