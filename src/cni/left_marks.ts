/**
 * One empty file, named by its UID, for each pod that the agent leaves alone. The plugin looks there when no agent
 * answers: whether a pod has a sidecar is settled when it is made, so what was known of it stays true.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The plugin takes no other for a file name. */
const UID = /^[a-zA-Z0-9-]{1,128}$/;

export class LeftMarks {
  readonly #directory: string;
  readonly #marked: Set<string>;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    this.#marked = new Set(readdirSync(directory));
  }

  /** Makes the marks those of these pods, and no others. */
  set(uids: Iterable<string>): void {
    const wanted = new Set([...uids].filter((uid) => UID.test(uid)));
    for (const uid of this.#marked) if (!wanted.has(uid)) this.#remove(uid);
    for (const uid of wanted) {
      if (this.#marked.has(uid)) continue;
      writeFileSync(join(this.#directory, uid), '');
      this.#marked.add(uid);
    }
  }

  #remove(uid: string): void {
    rmSync(join(this.#directory, uid), { recursive: true, force: true });
    this.#marked.delete(uid);
  }
}
