/**
 * What ADD was told: which sandbox is a pod's, and where its network namespace is. Kept in files, because an agent that
 * starts anew is not told again. They belong below /run: after a reboot no sandbox is left.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { resolveNetns } from '../pod/netns.ts';
import type { PodName } from '../pod/workload.ts';
import type { AttachmentId, PodRef } from './call.ts';

const Record = v.object({
  containerId: v.string(),
  ifname: v.string(),
  network: v.string(),
  pod: v.object({ namespace: v.string(), name: v.string(), uid: v.nullable(v.string()) }),
  /** `cookie` as decimal text: it tells a namespace from a later one at the same path. */
  netns: v.object({ path: v.string(), cookie: v.string() }),
  ips: v.array(v.string()),
  /** Grows with each ADD: of two sandboxes of a pod the later one is in use. */
  serial: v.number(),
});

export interface Attachment extends AttachmentId {
  network: string;
  pod: PodRef;
  netns: { path: string; cookie: bigint };
  /** Addresses that the primary plugin gave the pod, canonical text. */
  ips: string[];
}

type Kept = Attachment & { serial: number };

export class Attachments {
  readonly #directory: string;
  readonly #kept = new Map<string, Kept>();
  #serial = 0;

  /** Reads what is there; records of namespaces that are gone, and what is no record, are removed. */
  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(directory)) {
      const kept = readRecord(join(directory, name));
      if (kept === null || fileOf(kept) !== name || !isThere(kept.netns)) {
        rmSync(join(directory, name), { recursive: true, force: true });
      } else {
        this.#kept.set(name, kept);
        this.#serial = Math.max(this.#serial, kept.serial);
      }
    }
  }

  get(id: AttachmentId): Attachment | null {
    return this.#kept.get(fileOf(id)) ?? null;
  }

  all(): Attachment[] {
    return [...this.#kept.values()];
  }

  /**
   * Replaces one of the same sandbox and interface.
   *
   * @returns puts back what was there
   */
  put(attachment: Attachment): () => void {
    const before = this.#kept.get(fileOf(attachment));
    this.#write({ ...attachment, serial: ++this.#serial });
    return () => {
      if (before === undefined) this.delete(attachment);
      else this.#write(before);
    };
  }

  #write(kept: Kept): void {
    const name = fileOf(kept);
    const file = join(this.#directory, name);
    const text = JSON.stringify({
      ...kept,
      netns: { ...kept.netns, cookie: String(kept.netns.cookie) },
    });
    // A name that fileOf() gives nobody: left by a crash, it is removed at the next start.
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
    this.#kept.set(name, kept);
  }

  delete(id: AttachmentId): void {
    const name = fileOf(id);
    rmSync(join(this.#directory, name), { force: true });
    this.#kept.delete(name);
  }

  /** The pod's sandbox in use; null when no ADD told of one. */
  ofPod({ namespace, name, uid }: PodName): Attachment | null {
    let newest: Kept | null = null;
    for (const kept of this.#kept.values()) {
      const { pod } = kept;
      if (pod.namespace !== namespace || pod.name !== name) continue;
      // A name is used again, by a pod with another UID.
      if (pod.uid !== null && uid !== `${namespace}/${name}` && pod.uid !== uid) continue;
      if (newest === null || kept.serial > newest.serial) newest = kept;
    }
    return newest;
  }

  /** Forgets those whose network namespace is gone; a runtime that was killed may never call DEL. */
  forgetGone(): Attachment[] {
    const gone = this.all().filter(({ netns }) => !isThere(netns));
    for (const attachment of gone) this.delete(attachment);
    return gone;
  }
}

/** Container ids are letters, digits, "_", "." and "-"; an interface's name may hold what a file's may not. */
function fileOf({ containerId, ifname }: AttachmentId): string {
  return `${containerId}:${Buffer.from(ifname).toString('hex')}.json`;
}

function readRecord(file: string): Kept | null {
  try {
    const parsed = v.safeParse(Record, JSON.parse(readFileSync(file, 'utf8')));
    if (!parsed.success) return null;
    const { netns, ...rest } = parsed.output;
    return { ...rest, netns: { path: netns.path, cookie: BigInt(netns.cookie) } };
  } catch {
    // Cut off by a crash: whoever asked for it was never answered.
    return null;
  }
}

function isThere({ path, cookie }: Attachment['netns']): boolean {
  try {
    return resolveNetns(path).cookie === cookie;
  } catch {
    return false;
  }
}
