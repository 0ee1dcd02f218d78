import { type Dirent, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cgroup2Mounts } from '../../pod/cgroup.ts';

/** Paths of cgroups by their ids, which are the inodes of their directories. */
export class CgroupPaths {
  readonly #known = new Map<bigint, string>();
  #walk: Generator<string> | undefined;

  /** The path, or undefined when no visible cgroup has this id. Looks no further than it must. */
  find(id: bigint): string | undefined {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    this.#walk ??= directories();
    for (let next = this.#walk.next(); next.done !== true; next = this.#walk.next()) {
      const found = statSync(next.value, { bigint: true, throwIfNoEntry: false })?.ino;
      if (found !== undefined) this.#known.set(found, next.value);
      if (found === id) return next.value;
    }
    return undefined;
  }
}

/** Level by level: what we attach to stands high up. */
function* directories(): Generator<string> {
  const queue: string[] = [...cgroup2Mounts()];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    yield path;
    for (const entry of entriesOf(path)) if (entry.isDirectory()) queue.push(join(path, entry.name));
  }
}

function entriesOf(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    // Removed meanwhile.
    return [];
  }
}
