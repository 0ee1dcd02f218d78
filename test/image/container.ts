/**
 * The DaemonSet's pod without a kubelet: its container as an OCI bundle with the capabilities, mounts, namespaces and
 * limits that the manifest says, run by runc.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { renderChart } from '../../daemonset/render/chart.ts';
import { until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import type { UnpackedImage } from './archive.ts';

const Probe = v.object({
  httpGet: v.object({ path: v.string(), port: v.number(), host: v.optional(v.string()) }),
});
const ContainerSpec = v.object({
  name: v.string(),
  args: v.optional(v.array(v.string()), []),
  env: v.array(v.object({ name: v.string(), value: v.optional(v.string()) })),
  startupProbe: v.optional(Probe),
  livenessProbe: v.optional(Probe),
  readinessProbe: v.optional(Probe),
  resources: v.optional(
    v.object({
      limits: v.object({
        memory: v.pipe(
          v.string(),
          v.regex(/^\d+Mi$/),
          v.transform((text) => Number.parseInt(text, 10) * 1024 * 1024),
        ),
      }),
    }),
  ),
  securityContext: v.object({
    privileged: v.literal(false),
    allowPrivilegeEscalation: v.boolean(),
    readOnlyRootFilesystem: v.boolean(),
    runAsUser: v.number(),
    capabilities: v.object({ add: v.array(v.string()) }),
  }),
  volumeMounts: v.array(
    v.object({
      name: v.string(),
      mountPath: v.string(),
      readOnly: v.optional(v.boolean(), false),
      mountPropagation: v.optional(v.picklist(['None', 'HostToContainer']), 'None'),
    }),
  ),
});
export type ContainerSpec = v.InferOutput<typeof ContainerSpec>;

const PodSpec = v.object({
  hostNetwork: v.literal(true),
  hostPID: v.literal(true),
  initContainers: v.optional(v.array(ContainerSpec), []),
  containers: v.tuple([ContainerSpec]),
  volumes: v.array(
    v.object({
      name: v.string(),
      hostPath: v.optional(v.object({ path: v.string(), type: v.string() })),
      emptyDir: v.optional(v.object({})),
      configMap: v.optional(v.object({ name: v.string() })),
    }),
  ),
});
export type PodSpec = v.InferOutput<typeof PodSpec>;

const DaemonSet = v.object({
  kind: v.literal('DaemonSet'),
  spec: v.object({ template: v.object({ spec: PodSpec }) }),
});

/** The pod of the chart's DaemonSet. */
export function podSpec(values: Record<string, unknown>): PodSpec {
  const found = renderChart(values).find((object) => v.is(DaemonSet, object));
  return v.parse(DaemonSet, found).spec.template.spec;
}

export interface ContainerOptions {
  image: UnpackedImage;
  pod: PodSpec;
  container: ContainerSpec;
  /** Folder for the bundle; also names the container. */
  folder: string;
  id: string;
  /** In place of the image's entrypoint and the manifest's args. */
  argv?: readonly string[];
  args?: readonly string[];
  /** Taken from the manifest's capabilities. */
  without?: readonly string[];
  /** Host directories mounted read-only beside the manifest's. */
  extraMounts?: readonly { source: string; destination: string }[];
  /** `NAME=VALUE` beside the manifest's. */
  extraEnv?: readonly string[];
}

/** Name of the node, where the manifest asks for it. */
export const NODE_NAME = 'node';

interface Mount {
  destination: string;
  type: string;
  source: string;
  options: string[];
}

export class Container implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #options: ContainerOptions;

  private constructor(process: LabProcess, options: ContainerOptions) {
    this.#process = process;
    this.#options = options;
  }

  static async start(options: ContainerOptions): Promise<Container> {
    const bundle = writeBundle(options);
    const argv = ['runc', '--root', join(options.folder, 'runc'), 'run', '--bundle', bundle] as const;
    const logFile = join(options.folder, 'log');
    const process = await LabProcess.start(
      options.id,
      [...argv, '--pid-file', join(bundle, 'pid'), options.id],
      { logFile },
    );
    return new Container(process, options);
  }

  /** Runs to its end. */
  static run(options: ContainerOptions): { code: number | null; output: string } {
    const bundle = writeBundle(options);
    const args = ['--root', join(options.folder, 'runc'), 'run', '--bundle', bundle, options.id];
    const { status, stdout, stderr } = spawnSync('runc', args, { encoding: 'utf8', timeout: 60_000 });
    return { code: status, output: `${stdout}${stderr}` };
  }

  /** Of the container's first process, as the host sees it. */
  async pid(): Promise<number> {
    const file = join(this.#options.folder, 'bundle', 'pid');
    return until(
      () => {
        this.#process.assertRunning();
        const found = spawnSync('cat', [file], { encoding: 'utf8' }).stdout;
        return found === '' ? undefined : Number(found);
      },
      { what: 'runc to start the container' },
    );
  }

  assertRunning(): void {
    this.#process.assertRunning();
  }

  log(): string {
    return readFileSync(this.#process.logFile, 'utf8');
  }

  exec(...argv: string[]): string {
    const { id, folder } = this.#options;
    return execFileSync('runc', ['--root', join(folder, 'runc'), 'exec', id, ...argv], { encoding: 'utf8' });
  }

  /** As the kubelet ends it. @returns the exit code */
  async stop(): Promise<number | null> {
    const { code } = await this.#process.stop('SIGTERM', 10_000);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { id, folder } = this.#options;
    spawnSync('runc', ['--root', join(folder, 'runc'), 'delete', '--force', id]);
    await this.#process.stop('SIGKILL');
  }
}

function writeBundle(options: ContainerOptions): string {
  const bundle = join(options.folder, 'bundle');
  rmSync(bundle, { recursive: true, force: true });
  mkdirSync(bundle, { recursive: true });
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config(options)));
  return bundle;
}

/** github.com/opencontainers/runtime-spec, config.md. */
function config(options: ContainerOptions): object {
  const { image, container, without = [], args = container.args, extraEnv = [] } = options;
  const { securityContext } = container;
  const kept = securityContext.capabilities.add
    .filter((name) => !without.includes(name))
    .map((name) => `CAP_${name}`);
  const memory = container.resources?.limits.memory;
  const variables = container.env.map(({ name, value = NODE_NAME }) => [name, value] as const);
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: securityContext.runAsUser, gid: 0 },
      args: options.argv ?? [...image.entrypoint, ...args.map((word) => expanded(word, variables))],
      env: [...image.env, ...variables.map(([name, value]) => `${name}=${value}`), ...extraEnv],
      cwd: '/',
      capabilities: { bounding: kept, effective: kept, permitted: kept },
      noNewPrivileges: !securityContext.allowPrivilegeEscalation,
    },
    root: { path: image.rootfs, readonly: securityContext.readOnlyRootFilesystem },
    mounts: [...systemMounts(), ...podMounts(options)],
    linux: {
      // Neither network nor pid: hostNetwork and hostPID.
      namespaces: ['mount', 'ipc', 'uts', 'cgroup'].map((type) => ({ type })),
      cgroupsPath: `/${options.id}`,
      resources: memory === undefined ? {} : { memory: { limit: memory } },
      rootfsPropagation: 'rslave',
    },
  };
}

/** `$(NAME)`, as the kubelet replaces it. */
function expanded(word: string, variables: readonly (readonly [string, string])[]): string {
  return variables.reduce((text, [name, value]) => text.replaceAll(`$(${name})`, value), word);
}

/** What every runtime of Kubernetes mounts. */
function systemMounts(): Mount[] {
  const locked = ['nosuid', 'noexec', 'nodev'];
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: locked },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755'] },
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...locked, 'mode=1777'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...locked, 'ro'] },
  ];
}

function podMounts({ pod, container, folder, extraMounts = [] }: ContainerOptions): Mount[] {
  const mounts = container.volumeMounts.map(({ name, mountPath, readOnly, mountPropagation }) => {
    const volume = pod.volumes.find((candidate) => candidate.name === name);
    if (volume === undefined) throw new Error(`${container.name} mounts ${name}, which is no volume`);
    if (volume.emptyDir !== undefined) {
      return {
        destination: mountPath,
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'nodev', 'mode=755'],
      };
    }
    const propagation = mountPropagation === 'None' ? 'rprivate' : 'rslave';
    const source = volume.hostPath?.path ?? configMapFolder(folder);
    if (volume.hostPath?.type === 'DirectoryOrCreate') mkdirSync(source, { recursive: true });
    const options = ['rbind', propagation, readOnly ? 'ro' : 'rw'];
    return { destination: mountPath, type: 'bind', source, options };
  });
  const extra = extraMounts.map(({ source, destination }) => ({
    destination,
    type: 'bind',
    source,
    options: ['rbind', 'rslave', 'ro'],
  }));
  // A mount comes after the one that it stands in.
  return [...mounts, ...extra].sort((a, b) => a.destination.length - b.destination.length);
}

function configMapFolder(folder: string): string {
  const path = join(folder, 'settings');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'settings.yaml'), '{}\n');
  return path;
}
