/**
 * Where everything that outlives the agent is pinned:
 *
 *   <bpffs>/shunt/maps/pods           a map by its name without the prefix `shunt_`
 *   <bpffs>/shunt/links/connect4      a cgroup attachment by its program's name
 *   <bpffs>/shunt/pods/<netns cookie>/inbound    a pod's sk_lookup attachment
 *
 * The agent holds a lock (flock) on the directory <bpffs>/shunt for as long as it lives.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, statfsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../../errors.ts';

const BPF_FS_MAGIC = 0xcafe4a11;
/** Prefix of our programs' and maps' names in the kernel. */
export const KERNEL_PREFIX = 'shunt_';

export class Pins {
  readonly bpffs: string;
  readonly root: string;
  readonly maps: string;
  readonly links: string;
  readonly podsRoot: string;

  /** @param bpffs mount point of a BPF file system, or a directory below one */
  constructor(bpffs: string) {
    this.bpffs = bpffs;
    this.root = join(bpffs, 'shunt');
    this.maps = join(this.root, 'maps');
    this.links = join(this.root, 'links');
    this.podsRoot = join(this.root, 'pods');
  }

  /** @param name kernel name of a map, prefix included or not */
  map(name: string): string {
    return join(this.maps, unprefixed(name));
  }

  /** @param name kernel name of a program, prefix included or not */
  link(name: string): string {
    return join(this.links, unprefixed(name));
  }

  pod(cookie: bigint): string {
    return join(this.podsRoot, String(cookie));
  }

  inbound(cookie: bigint): string {
    return join(this.pod(cookie), 'inbound');
  }

  /**
   * Makes the directories.
   *
   * @throws SHUNT_E_BPFFS_MISSING when the path is not on a BPF file system
   */
  prepare(): void {
    const type = fileSystemType(this.bpffs);
    if (type !== BPF_FS_MAGIC) {
      throw new ShuntError(
        'SHUNT_E_BPFFS_MISSING',
        type === null ? 'the directory does not exist' : 'not a BPF file system',
        { target: this.bpffs, fix: `mount one: mkdir -p ${this.bpffs} && mount -t bpf bpf ${this.bpffs}` },
      );
    }
    for (const directory of [this.root, this.maps, this.links, this.podsRoot]) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    }
  }

  /** Names of pinned maps, without prefix. */
  mapNames(): string[] {
    return entries(this.maps);
  }

  linkNames(): string[] {
    return entries(this.links);
  }

  /** Cookies of the pods that have a directory here. */
  podCookies(): bigint[] {
    return entries(this.podsRoot)
      .filter((name) => /^\d+$/.test(name))
      .map(BigInt);
  }

  hasPod(cookie: bigint): boolean {
    return existsSync(this.pod(cookie));
  }

  preparePod(cookie: bigint): void {
    mkdirSync(this.pod(cookie), { recursive: true, mode: 0o700 });
  }

  /** Removes a pod's pins; what is already gone is passed over. */
  removePod(cookie: bigint): void {
    ignoreMissing(() => unlinkSync(this.inbound(cookie)));
    ignoreMissing(() => rmdirSync(this.pod(cookie)));
  }
}

export function unprefixed(name: string): string {
  return name.startsWith(KERNEL_PREFIX) ? name.slice(KERNEL_PREFIX.length) : name;
}

function fileSystemType(path: string): number | null {
  try {
    return statfsSync(path).type;
  } catch {
    return null;
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function ignoreMissing(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
