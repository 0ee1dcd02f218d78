/** The image's agent on a lab, as the DaemonSet runs it. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodReport } from '../../src/agent/api.ts';
import { AgentClient } from '../../src/agent/client.ts';
import { ShuntError } from '../../src/errors.ts';
import { until } from '../../src/lab/deadline.ts';
import { imageArchive, type UnpackedImage, unpack } from './archive.ts';
import { Container, type ContainerSpec, type PodSpec, podSpec } from './container.ts';

export type AgentPlace = {
  /** Cgroup above the pods. */
  cgroup: string;
} & (
  | {
      /** Manifests of the pods, in place of an API server; seen by the agent at the same path. */
      manifests: string;
    }
  | {
      /** Folder with token and CA of the agent's service account. */
      account: string;
      /** Of the API server, on loopback. */
      port: number;
    }
);

/** Options of the manifest that say where pods come from, for a place where that is a folder. */
const SOURCE_OPTIONS = ['--kubeconfig', '--node-name'];
/** Where the kubelet mounts it. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export class ImageBed implements Disposable {
  readonly image: UnpackedImage;
  readonly prefix: string;
  readonly folder: string;
  readonly bpffs: string;
  readonly client: AgentClient;
  readonly #socketFolder: string;
  readonly #options: ReadonlySet<string>;
  #serial = 0;

  /** @throws Error without an image */
  constructor(label: string) {
    const archive = imageArchive();
    if (archive === null) throw new Error('SHUNT_TEST_IMAGE names no image: npm run test:image');
    this.prefix = `shunt-im${label}${process.pid}`;
    this.folder = mkdtempSync(join(tmpdir(), 'shunt-image-'));
    this.bpffs = join('/sys/fs/bpf', this.prefix);
    mkdirSync(this.bpffs);
    mkdirSync(this.netDir);
    this.#socketFolder = join(this.folder, 'run');
    this.client = new AgentClient(join(this.#socketFolder, 'agent.sock'), { timeoutMs: 30_000 });
    this.image = unpack(archive, join(this.folder, 'image'));
    const help = this.runOnce({ args: ['agent', '--help'] }).output;
    this.#options = new Set([...help.matchAll(/--[a-z][-a-z]+/g)].map(([option]) => option));
  }

  /** The chart's pod; what it would write on the node is written below our own folder. */
  pod(mode: 'agent' | 'cleanup' = 'agent', values: Record<string, unknown> = {}): PodSpec {
    return podSpec({
      mode,
      ...values,
      host: { run: this.#socketFolder },
      cni: { confDir: this.netDir, binDir: join(this.folder, 'bin') },
      metrics: { port: 15_990 },
    });
  }

  /** The image's agent keeps the plugin in the node's chain. */
  get knowsCni(): boolean {
    return this.#options.has('--cni-net-dir');
  }

  /** Stands for the node's /etc/cni/net.d. */
  get netDir(): string {
    return join(this.folder, 'net.d');
  }

  /** Arguments of the manifest, for pins and a cgroup of our own; from a folder of pods, if that is the place. */
  arguments(container: ContainerSpec, place: AgentPlace, more: readonly string[] = []): string[] {
    const own = ['--cgroup', place.cgroup, '--bpffs', this.bpffs, ...more];
    if (!('manifests' in place)) return [...container.args, ...own];
    const [command = '', ...words] = container.args;
    const kept = [command];
    for (let i = 0; i < words.length; i += 2) {
      const [option = '', value = ''] = words.slice(i, i + 2);
      if (!SOURCE_OPTIONS.includes(option) && this.#options.has(option)) kept.push(option, value);
    }
    return [...kept, '--pods', place.manifests, ...own];
  }

  async startAgent(
    place: AgentPlace,
    options: { without?: readonly string[]; more?: readonly string[] } = {},
  ): Promise<Container> {
    const pod = this.pod();
    const [container] = pod.containers;
    return Container.start({
      ...this.#named(),
      image: this.image,
      pod,
      container,
      args: this.arguments(container, place, options.more),
      without: options.without ?? [],
      ...('manifests' in place
        ? { extraMounts: [{ source: place.manifests, destination: place.manifests }] }
        : {
            extraMounts: [{ source: place.account, destination: SERVICE_ACCOUNT }],
            extraEnv: ['KUBERNETES_SERVICE_HOST=127.0.0.1', `KUBERNETES_SERVICE_PORT=${place.port}`],
          }),
    });
  }

  /** Any command in the agent's container, to its end. */
  runOnce(options: { argv?: string[]; args?: string[]; without?: string[] }): {
    code: number | null;
    output: string;
  } {
    const pod = this.pod();
    const [container] = pod.containers;
    return Container.run({ ...this.#named(), image: this.image, pod, container, ...options });
  }

  /** The containers of the cleanup manifest, one after the other, those of commands that the image has. */
  cleanUp(): string {
    const pod = this.pod('cleanup', {});
    let output = '';
    // `verify` looks at the whole machine, where others may use Shunt as well.
    const names = this.knowsCni ? ['cni-uninstall', 'cleanup'] : ['cleanup'];
    for (const container of pod.initContainers.filter(({ name }) => names.includes(name))) {
      // The machine's own pins are not ours to remove.
      const args = [...container.args, '--bpffs', this.bpffs];
      const result = Container.run({ ...this.#named(), image: this.image, pod, container, args });
      output += result.output;
      if (result.code !== 0) throw new Error(`${container.name}: ${result.output}`);
    }
    return output;
  }

  /** Waits until the agent reports so many pods, none of them waiting. */
  async reports(agent: Container, count: number): Promise<PodReport[]> {
    return until(
      async () => {
        agent.assertRunning();
        const reports = await this.client.pods().catch(unlessDown);
        return reports?.length === count ? reports : undefined;
      },
      { what: `the agent to report ${count} pods`, timeoutMs: 120_000, everyMs: 100 },
    );
  }

  #named(): { folder: string; id: string } {
    const id = `${this.prefix}-${this.#serial++}`;
    const folder = join(this.folder, id);
    mkdirSync(folder);
    return { folder, id };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(this.bpffs, { recursive: true, force: true });
  }
}

function unlessDown(error: unknown): undefined {
  if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
  throw error;
}
