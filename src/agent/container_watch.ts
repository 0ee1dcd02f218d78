/**
 * Tells when a container's cgroup comes or goes. A container that restarts has a cgroup of another id; until the agent has
 * seen it, the pod's sidecar is told by its uid alone, and that time is to be short.
 */
import { type FSWatcher, statSync, watch } from 'node:fs';

interface Watched {
  inode: bigint;
  watcher: FSWatcher;
}

export class ContainerWatch implements Disposable {
  readonly #changed: () => void;
  readonly #watched = new Map<string, Watched>();

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** @param directories that the cgroups of containers stand in; one that is missing is not watched */
  set(directories: Iterable<string>): void {
    const wanted = new Set(directories);
    for (const [path, { inode, watcher }] of this.#watched) {
      if (wanted.has(path) && inodeOf(path) === inode) continue;
      watcher.close();
      this.#watched.delete(path);
    }
    for (const path of wanted) if (!this.#watched.has(path)) this.#watch(path);
  }

  [Symbol.dispose](): void {
    this.set([]);
  }

  #watch(path: string): void {
    const inode = inodeOf(path);
    if (inode === null) return;
    try {
      const watcher = watch(path, (event) => {
        // `change` is of the cgroup's own files, such as cgroup.events.
        if (event === 'rename') this.#changed();
      });
      watcher.on('error', () => this.#changed());
      this.#watched.set(path, { inode, watcher });
    } catch {
      // Out of inotify watches (ENOSPC, EMFILE), or gone meanwhile: the next pass looks all the same, only later.
    }
  }
}

function inodeOf(path: string): bigint | null {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? null;
}
