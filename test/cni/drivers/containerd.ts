/** A containerd of the test's own, in a namespace of its own, with one image of one static program. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../../src/lab/command.ts';
import { until } from '../../../src/lab/deadline.ts';
import { LabProcess } from '../../../src/lab/process.ts';
import { Cri } from './cri.ts';

const CGROUPS = '/sys/fs/cgroup';
export const IMAGE = 'localhost/probe:1';
const PROBE = fileURLToPath(new URL('probe.c', import.meta.url));

export interface ContainerdOptions {
  /** Takes everything; short, since a socket's path may have 107 bytes. */
  folder: string;
  netDir: string;
  binDir: string;
  /** Namespace that bridges of CNI are made in; its own is the caller's. */
  netns?: string;
  /** Default `native`, which needs nothing of the file system. */
  snapshotter?: 'native' | 'overlayfs';
  /** Name of the cgroup above all pods, in every hierarchy. */
  cgroup: string;
}

export class Containerd implements AsyncDisposable {
  readonly cri: Cri;
  readonly socket: string;
  readonly #process: LabProcess;
  readonly #cgroup: string;

  private constructor(process: LabProcess, socket: string, cgroup: string) {
    this.#process = process;
    this.#cgroup = cgroup;
    this.socket = socket;
    this.cri = new Cri(socket);
  }

  static async start(options: ContainerdOptions): Promise<Containerd> {
    const { folder, netDir, binDir, netns, cgroup, snapshotter = 'native' } = options;
    const socket = join(folder, 'c.sock');
    const config = join(folder, 'containerd.toml');
    writeFileSync(config, configText({ folder, socket, netDir, binDir, snapshotter }));
    const logFile = join(folder, 'containerd.log');
    const process = await LabProcess.start('containerd', ['containerd', '--config', config], {
      place: netns === undefined ? {} : { netns },
      logFile,
    });
    const containerd = new Containerd(process, socket, cgroup);
    try {
      await until(
        async () => {
          process.assertRunning();
          return await containerd.cri.networkReady().then(
            () => true,
            () => undefined,
          );
        },
        { what: 'containerd', timeoutMs: 60_000, everyMs: 50 },
      );
      await run(['ctr', '-a', socket, '-n', 'k8s.io', 'images', 'import', await makeImage(folder)]);
      return containerd;
    } catch (error) {
      await containerd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What it logged, for a test that failed. */
  log(): string {
    return readFileSync(this.#process.logFile, 'utf8');
  }

  /** Takes down what a test that failed left running, too. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const sandbox of await this.cri.sandboxes().catch(() => [])) {
      await this.cri.stopPodSandbox(sandbox).catch(() => {});
      await this.cri.removePodSandbox(sandbox).catch(() => {});
    }
    await this.#process.stop('SIGTERM', 10_000);
    for (const hierarchy of readdirSync(CGROUPS)) removeEmpty(join(CGROUPS, hierarchy, this.#cgroup));
  }
}

/** Runc makes the pods' cgroups in each v1 hierarchy as well, and leaves their parents. */
function removeEmpty(directory: string): void {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) removeEmpty(join(directory, entry.name));
  rmdirSync(directory);
}

function configText({ folder, socket, netDir, binDir, snapshotter }: Record<string, string>): string {
  return `version = 2
root = "${folder}/root"
state = "${folder}/state"
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${binDir}"
    conf_dir = "${netDir}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`;
}

/** An archive as `docker save` writes it: one layer with one file. */
async function makeImage(folder: string): Promise<string> {
  const image = join(folder, 'image');
  mkdirSync(join(image, 'layer'), { recursive: true });
  await run(['clang', '-Os', '-static', '-Wall', '-Werror', PROBE, '-o', join(image, 'layer', 'probe')]);
  await run(['tar', '-C', join(image, 'layer'), '-cf', join(image, 'layer.tar'), 'probe']);
  const digest = createHash('sha256')
    .update(readFileSync(join(image, 'layer.tar')))
    .digest('hex');
  const config = {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/probe'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
  };
  writeFileSync(join(image, 'config.json'), JSON.stringify(config));
  const manifest = [{ Config: 'config.json', RepoTags: [IMAGE], Layers: ['layer.tar'] }];
  writeFileSync(join(image, 'manifest.json'), JSON.stringify(manifest));
  const archive = join(folder, 'image.tar');
  await run(['tar', '-C', image, '-cf', archive, 'manifest.json', 'config.json', 'layer.tar']);
  return archive;
}
