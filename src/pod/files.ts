/**
 * Pods from manifests on disk: a file, or the *.yaml, *.yml and *.json of a directory, watched for change.
 *
 * What is in force follows from the files' names and contents alone, with one exception that keeps traffic enforced: a
 * file that turns bad keeps its last good pods, and so does a directory that cannot be read any more. A file that is
 * deleted takes its pods along.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ShuntError } from '../errors.ts';
import { DirectoryAlarm } from './directory_alarm.ts';
import { podName } from './locate.ts';
import { MAX_MANIFEST_BYTES, parseManifest } from './manifest.ts';
import { systemErrorCode } from './syscall.ts';
import type { NamespaceMarks, PodObject } from './workload.ts';

/** Between the first change of a manifest and a look at it, without more of them. */
export const MANIFEST_DEBOUNCE_MS = 100;

const MANIFEST_NAME = /^[^.].*\.(?:ya?ml|json)$/;
/** Says nothing of any manifest: a draft that is to be renamed, an editor's own. Not `..data`, by which a mounted ConfigMap changes. */
const DRAFT_NAME = /^\.[^.]/;

export interface Snapshot {
  /** In the order of file names, and of the pods in each; `file` may be the address of an API server. */
  pods: { pod: PodObject; file: string; namespace?: NamespaceMarks }[];
  rejected: { file: string; error: ShuntError }[];
  /** Uids of the pods that changed since the snapshot before; null or left out when any may have. */
  changed?: ReadonlySet<string> | null;
}

export interface WatchOptions {
  /** Ends the iteration. */
  signal: AbortSignal;
  /** Wait after a change for more of them. */
  debounceMs?: number;
  /** Read again after this time even when nothing was reported: network file systems report nothing. */
  rereadMs?: number;
}

/**
 * What the manifests say now, and again whenever that changes.
 *
 * @param path a file or a directory; not its subdirectories
 * @throws SHUNT_E_PODS_PATH when the path cannot be read at the start
 */
export async function* watchPodFiles(
  path: string,
  options: WatchOptions,
): AsyncGenerator<Snapshot, void, void> {
  const { signal, debounceMs = MANIFEST_DEBOUNCE_MS, rereadMs = 30_000 } = options;
  if (signal.aborted) return;
  const files = await PodFiles.at(path);
  if (signal.aborted) return;
  // Before the first read, so that a change during it is not missed.
  using alarm = new DirectoryAlarm(files.directory, { debounceMs, rereadMs, signal });
  let last = await files.read();
  yield last;
  let told = files.generation;
  while (await alarm.next()) {
    const snapshot = await files.read(alarm.takeNames());
    if (files.generation === told) continue;
    told = files.generation;
    snapshot.changed = addedTo(last, snapshot);
    last = snapshot;
    yield snapshot;
  }
}

/**
 * Uids of the pods that are new, where all others are as they were and every manifest can be used; else null, for what
 * one pod gives up another may have waited for. So a new pod is not kept waiting by a look at all of them.
 */
function addedTo(last: Snapshot, snapshot: Snapshot): ReadonlySet<string> | null {
  const gone = new Set(last.pods.map(({ pod }) => pod));
  const added = snapshot.pods.filter(({ pod }) => !gone.delete(pod));
  if (gone.size > 0 || last.rejected.length > 0 || snapshot.rejected.length > 0) return null;
  return new Set(added.map(({ pod }) => podName(pod).uid));
}

/** What the manifests say now, once. Throws as watchPodFiles. */
export async function readPodFiles(path: string): Promise<Snapshot> {
  return (await PodFiles.at(path)).read();
}

/** What a file held when it was last read. */
interface Remembered {
  text: string | null;
  pods: PodObject[];
  error: ShuntError | null;
}

class PodFiles {
  /** Watched: the directory itself, or the one that holds the file, since a file is replaced by renaming. */
  readonly directory: string;
  readonly #path: string;
  readonly #isDirectory: boolean;
  readonly #remembered = new Map<string, Remembered>();
  #pathError: ShuntError | null = null;
  /** Grows whenever a read finds something else than the one before. */
  generation = 0;

  private constructor(path: string, isDirectory: boolean) {
    this.#path = path;
    this.#isDirectory = isDirectory;
    this.directory = isDirectory ? path : dirname(path);
  }

  static async at(path: string): Promise<PodFiles> {
    const absolute = resolve(path);
    try {
      return new PodFiles(absolute, (await stat(absolute)).isDirectory());
    } catch (cause) {
      throw new ShuntError('SHUNT_E_PODS_PATH', undefined, { target: absolute, cause });
    }
  }

  /** @param changed names that may say something else than at the last read; null for any */
  async read(changed: ReadonlySet<string> | null = null): Promise<Snapshot> {
    const files = await this.#list();
    if (files !== null) {
      const present = new Set(files);
      for (const file of this.#remembered.keys()) {
        if (!present.has(file)) this.#forget(file);
      }
      const isEvery = changed === null || !this.#isDirectory || [...changed].some(isOfUnknown);
      for (const file of files) {
        // What could not be read is tried again.
        const isKnown = typeof this.#remembered.get(file)?.text === 'string';
        if (isEvery || !isKnown || changed.has(basename(file))) await this.#readFile(file);
      }
    }
    return this.#snapshot();
  }

  /** Files to read, in order of name; null when the directory cannot be read, and then what is known stays. */
  async #list(): Promise<string[] | null> {
    try {
      const names = this.#isDirectory
        ? (await readdir(this.#path)).filter((name) => MANIFEST_NAME.test(name)).sort()
        : [(await stat(this.#path)) && basename(this.#path)];
      this.#setPathError(null);
      return names.map((name) => join(this.directory, name));
    } catch (cause) {
      this.#setPathError(new ShuntError('SHUNT_E_PODS_PATH', undefined, { target: this.#path, cause }));
      // Of a single file, being gone is the one thing that can be meant by deleting it.
      return !this.#isDirectory && systemErrorCode(cause) === 'ENOENT' ? [] : null;
    }
  }

  async #readFile(file: string): Promise<void> {
    const known = this.#remembered.get(file);
    const kept = known?.pods ?? [];
    try {
      const text = await readBounded(file);
      if (text === null) return this.#forget(file);
      if (known !== undefined && known.text === text) return;
      this.generation++;
      this.#remembered.set(file, { text, ...outcomeOf(text, file, kept) });
    } catch (cause) {
      const error =
        cause instanceof ShuntError
          ? cause
          : new ShuntError('SHUNT_E_FILE', undefined, { target: file, cause });
      if (known?.text === null && known.error?.message === error.message) return;
      this.generation++;
      this.#remembered.set(file, { text: null, pods: kept, error });
    }
  }

  #forget(file: string): void {
    if (this.#remembered.delete(file)) this.generation++;
  }

  #setPathError(error: ShuntError | null): void {
    if (this.#pathError?.message !== error?.message) this.generation++;
    this.#pathError = error;
  }

  #snapshot(): Snapshot {
    const snapshot: Snapshot = { pods: [], rejected: [] };
    if (this.#pathError !== null) snapshot.rejected.push({ file: this.#path, error: this.#pathError });
    const owners = new Map<string, string>();
    for (const file of [...this.#remembered.keys()].sort()) {
      const { pods, error } = this.#remembered.get(file) ?? { pods: [], error: null };
      if (error !== null) snapshot.rejected.push({ file, error });
      for (const pod of pods) {
        const duplicate = claim(pod, file, owners);
        if (duplicate === null) snapshot.pods.push({ pod, file });
        else snapshot.rejected.push({ file, error: duplicate });
      }
    }
    return snapshot;
  }
}

/** Of a name that is no manifest's: whether manifests may have changed with it. */
function isOfUnknown(name: string): boolean {
  return !MANIFEST_NAME.test(name) && !DRAFT_NAME.test(name);
}

function outcomeOf(text: string, file: string, kept: PodObject[]): Pick<Remembered, 'pods' | 'error'> {
  try {
    return { pods: parseManifest(text, file), error: null };
  } catch (error) {
    if (!(error instanceof ShuntError)) throw error;
    return { pods: kept, error };
  }
}

/** Enters the pod under its uid and its name; an error when another manifest did so before. */
function claim(pod: PodObject, file: string, owners: Map<string, string>): ShuntError | null {
  const { namespace, name, uid } = pod.metadata;
  const keys = [`name ${namespace}/${name}`, ...(uid === undefined ? [] : [`uid ${uid}`])];
  for (const key of keys) {
    const owner = owners.get(key);
    if (owner === undefined) continue;
    const where = owner === file ? 'earlier in this file' : `in ${owner}`;
    const detail = `pod ${namespace}/${name} is described ${where} already, by its ${key}`;
    return new ShuntError('SHUNT_E_MANIFEST_DUPLICATE', detail, { target: file });
  }
  for (const key of keys) owners.set(key, file);
  return null;
}

/** The file's text; null when it is gone or is no regular file. */
async function readBounded(file: string): Promise<string | null> {
  try {
    if (!(await stat(file)).isFile()) return null;
    await using handle = await open(file, 'r');
    const { size } = await handle.stat();
    if (size > MAX_MANIFEST_BYTES)
      throw new ShuntError('SHUNT_E_MANIFEST_TOO_LARGE', undefined, { target: file });
    return new TextDecoder('utf-8', { fatal: true }).decode(await handle.readFile());
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return null;
    if (cause instanceof TypeError) {
      throw new ShuntError('SHUNT_E_MANIFEST_SYNTAX', 'not UTF-8 text', { target: file, cause });
    }
    throw cause;
  }
}
