/**
 * Tells when a container's cgroup comes or goes. A container that restarts has a cgroup of another id; until the agent has
 * seen it, the pod's sidecar is told by its uid alone, and that time is to be short.
 */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { join } from 'node:path';

interface Watched {
  inode: bigint;
  watcher: FSWatcher;
}

export class ContainerWatch implements Disposable {
  readonly #changed: (uid: string, path: string) => void;
  /** By the uid of the pod, and then by directory. */
  readonly #pods = new Map<string, Map<string, Watched>>();

  /** @param changed hears of the pod and of the cgroup that came or went; of the directory when it cannot be watched on */
  constructor(changed: (uid: string, path: string) => void) {
    this.#changed = changed;
  }

  /**
   * @param directories that the cgroups of the pod's containers stand in; one that is missing is not watched
   * @returns whether one of them was not watched until now
   */
  set(uid: string, directories: readonly string[]): boolean {
    const watched = this.#pods.get(uid) ?? new Map<string, Watched>();
    for (const [path, { inode, watcher }] of watched) {
      if (directories.includes(path) && inodeOf(path) === inode) continue;
      watcher.close();
      watched.delete(path);
    }
    let isNew = false;
    for (const path of directories) {
      const added = watched.has(path) ? null : this.#watch(uid, path);
      if (added === null) continue;
      watched.set(path, added);
      isNew = true;
    }
    if (watched.size === 0) this.#pods.delete(uid);
    else this.#pods.set(uid, watched);
    return isNew;
  }

  /** Ends the watch of every other pod. */
  keep(uids: ReadonlySet<string>): void {
    for (const uid of [...this.#pods.keys()]) if (!uids.has(uid)) this.set(uid, []);
  }

  [Symbol.dispose](): void {
    this.keep(new Set());
  }

  #watch(uid: string, path: string): Watched | null {
    const inode = inodeOf(path);
    if (inode === null) return null;
    try {
      const watcher = watch(path, (event, name) => {
        // `change` is of the cgroup's own files, such as cgroup.events.
        if (event === 'rename') this.#changed(uid, name === null ? path : join(path, name));
      });
      watcher.on('error', () => this.#changed(uid, path));
      return { inode, watcher };
    } catch {
      // Out of inotify watches (ENOSPC, EMFILE), or gone meanwhile: the next pass looks all the same, only later.
      return null;
    }
  }
}

function inodeOf(path: string): bigint | null {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? null;
}
