/**
 * A copy of some objects of the API server, kept by one LIST and then one WATCH with bookmarks. It outlives every
 * failure: all of them are waited out with jitter, save an expired version (410), after which a new LIST is what the
 * server asks for. What was known stays known meanwhile.
 */
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { ShuntError } from '../../errors.ts';
import { Backoff, type BackoffLimits, DEFAULT_BACKOFF } from './backoff.ts';
import type { ApiConnection } from './connection.ts';
import { KubeError, statusError } from './kube_error.ts';

export interface ReflectorTimings {
  backoff: BackoffLimits;
  /** After so long the server ends a watch; up to a tenth is added or taken, by chance. */
  watchSeconds: number;
  /** A watch that the server ends sooner, and without an event, counts as failed. */
  shortWatchMs: number;
}

export const DEFAULT_REFLECTOR_TIMINGS: ReflectorTimings = {
  backoff: DEFAULT_BACKOFF,
  watchSeconds: 290,
  shortWatchMs: 1_000,
};

export interface ReflectorOptions<T> {
  connection: ApiConnection;
  /** `/api/v1/pods` */
  path: string;
  fieldSelector?: string;
  /**
   * Keeps of an object what is needed.
   *
   * @throws ShuntError when it cannot be used; what was known of it before stays
   */
  read(object: unknown): T;
  /** Told after each change, of these uids; of none when only `error` changed. */
  changed(uids: ReadonlySet<string>): void;
  timings?: ReflectorTimings;
  /** Objects in one page of a LIST. */
  pageSize?: number;
}

/** Why a watch was opened anew, for metrics. */
export type RestartReason = 'ended' | 'expired' | 'silent' | 'refused' | 'broken' | 'answer';

/** Events of a watch, for metrics. */
export type WatchEventType = 'added' | 'modified' | 'deleted' | 'bookmark';

/** What a reflector counts of itself. */
export type WatchCounters = Pick<Reflector<unknown>, 'requests' | 'restarts' | 'events' | 'lastEventSeconds'>;

const metadata = v.object({
  metadata: v.object({
    uid: v.pipe(v.string(), v.nonEmpty()),
    resourceVersion: v.pipe(v.string(), v.nonEmpty()),
  }),
});
const page = v.object({
  metadata: v.object({
    resourceVersion: v.pipe(v.string(), v.nonEmpty()),
    continue: v.nullish(v.string()),
  }),
  items: v.nullish(v.array(v.unknown()), []),
});
const watchEvent = v.object({ type: v.string(), object: v.unknown() });
const bookmark = v.object({ metadata: v.object({ resourceVersion: v.pipe(v.string(), v.nonEmpty()) }) });
const statusObject = v.object({ code: v.nullish(v.number(), 500), message: v.nullish(v.string(), null) });

/** After so many answers in a row that make no sense, what is known is doubted too. */
const WRONG_BEFORE_RELIST = 3;

export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #timings: ReflectorTimings;
  readonly #backoff: Backoff;
  readonly #items = new Map<string, { version: string; value: T }>();
  readonly #rejected = new Map<string, ShuntError>();
  /** Where the next watch goes on; null when a LIST comes first. */
  #version: string | null = null;
  #synced = false;
  #error: ShuntError | null = null;
  /** 410 or nonsense in a row, without an event between. */
  #expired = 0;
  #wrong = 0;
  readonly requests = { lists: 0, pages: 0, watches: 0 };
  readonly events: Record<WatchEventType, number> = { added: 0, modified: 0, deleted: 0, bookmark: 0 };
  /** Unix time; 0 before the first. */
  lastEventSeconds = 0;
  readonly restarts: Record<RestartReason, number> = {
    ended: 0,
    expired: 0,
    silent: 0,
    refused: 0,
    broken: 0,
    answer: 0,
  };

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timings = options.timings ?? DEFAULT_REFLECTOR_TIMINGS;
    this.#backoff = new Backoff(this.#timings.backoff);
  }

  /** Whether a LIST has succeeded: from then on what is known was true at some moment. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Why nothing new is learnt at the moment; null when a watch is open. */
  get error(): ShuntError | null {
    return this.#error;
  }

  get size(): number {
    return this.#items.size;
  }

  get(uid: string): T | undefined {
    return this.#items.get(uid)?.value;
  }

  *values(): Generator<T, void, void> {
    for (const { value } of this.#items.values()) yield value;
  }

  /** Objects that could not be used as they stand, by uid. */
  get rejected(): ReadonlyMap<string, ShuntError> {
    return this.#rejected;
  }

  /** Keeps the copy until the signal. Never throws for what the server does. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === null) await this.#list(signal);
        else await this.#watch(this.#version, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ShuntError)) throw error;
        const waitMs = this.#failed(error);
        await delay(waitMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** What a failure means for the next attempt; gives how long to wait for it. */
  #failed(error: ShuntError): number {
    const status = error instanceof KubeError ? error.status : null;
    this.restarts[reasonOf(error, status)]++;
    if (status === 410) {
      this.#version = null;
      // At once, unless the server says so again and again.
      if (++this.#expired === 1) return 0;
    }
    this.#wrong = error.code === 'SHUNT_E_KUBE_ANSWER' ? this.#wrong + 1 : 0;
    if (this.#wrong >= WRONG_BEFORE_RELIST) this.#version = null;
    this.#tell(error);
    return this.#backoff.next(error instanceof KubeError ? error.retryAfterMs : 0);
  }

  #tell(error: ShuntError | null): void {
    if (this.#error?.message === error?.message) return;
    this.#error = error;
    this.#options.changed(new Set());
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { connection, path, fieldSelector, pageSize = 500 } = this.#options;
    // Out of the server's cache at first, which costs it little and may be a little old; a watch from there brings
    // what came since. Later it must not be older than what is known, so it is read from etcd.
    const resourceVersion = this.#synced ? undefined : 0;
    const seen = new Set<string>();
    const touched = new Set<string>();
    this.requests.lists++;
    let version: string;
    let token: string | undefined;
    do {
      const start = token === undefined ? { resourceVersion } : { continue: token };
      this.requests.pages++;
      const body = await connection.get(path, { fieldSelector, limit: pageSize, ...start }, signal);
      const { metadata, items } = parse(page, body, `LIST of ${path}`);
      for (const item of items) {
        const { uid, changed } = this.#take(item);
        seen.add(uid);
        if (changed) touched.add(uid);
      }
      version = metadata.resourceVersion;
      token = metadata.continue || undefined;
    } while (token !== undefined);
    for (const uid of [...this.#items.keys(), ...this.#rejected.keys()]) {
      if (seen.has(uid)) continue;
      this.#forget(uid);
      touched.add(uid);
    }
    this.#version = version;
    this.#synced = true;
    this.#error = null;
    this.#options.changed(touched);
  }

  async #watch(from: string, signal: AbortSignal): Promise<void> {
    const { connection, path, fieldSelector } = this.#options;
    const timeoutSeconds = Math.round(this.#timings.watchSeconds * (0.9 + Math.random() / 5));
    const query = {
      fieldSelector,
      watch: 1,
      allowWatchBookmarks: 'true',
      resourceVersion: from,
      timeoutSeconds,
    };
    const openedMs = performance.now();
    this.requests.watches++;
    const events = await connection.watch(path, query, signal);
    this.#tell(null);
    let count = 0;
    for await (const event of events) {
      this.#receive(event);
      count++;
      this.#expired = 0;
      this.#wrong = 0;
      this.#backoff.reset();
    }
    if (count === 0 && performance.now() - openedMs < this.#timings.shortWatchMs) {
      throw new KubeError('SHUNT_E_KUBE_SERVER', 'the server ended it at once', {
        target: `watch of ${path}`,
      });
    }
    this.restarts.ended++;
  }

  /** @throws KubeError for an ERROR event, and for what is none at all */
  #receive(event: unknown): void {
    const target = `watch of ${this.#options.path}`;
    const { type, object } = parse(watchEvent, event, target);
    switch (type) {
      case 'BOOKMARK':
        this.#version = parse(bookmark, object, target).metadata.resourceVersion;
        this.#count('bookmark');
        return;
      case 'ADDED':
      case 'MODIFIED': {
        const { uid, version, changed } = this.#take(object);
        this.#version = version;
        this.#count(type === 'ADDED' ? 'added' : 'modified');
        if (changed) this.#options.changed(new Set([uid]));
        return;
      }
      case 'DELETED': {
        const { uid, resourceVersion } = parse(metadata, object, target).metadata;
        this.#version = resourceVersion;
        this.#count('deleted');
        this.#forget(uid);
        this.#options.changed(new Set([uid]));
        return;
      }
      case 'ERROR': {
        const { code, message } = parse(statusObject, object, target);
        throw statusError(code, message, target);
      }
      default:
        throw new KubeError('SHUNT_E_KUBE_ANSWER', `an event of the unknown type ${type.slice(0, 40)}`, {
          target,
        });
    }
  }

  #count(type: WatchEventType): void {
    this.events[type]++;
    this.lastEventSeconds = Date.now() / 1000;
  }

  #take(object: unknown): { uid: string; version: string; changed: boolean } {
    const { uid, resourceVersion: version } = parse(metadata, object, this.#options.path).metadata;
    if (this.#items.get(uid)?.version === version) return { uid, version, changed: false };
    try {
      this.#items.set(uid, { version, value: this.#options.read(object) });
      this.#rejected.delete(uid);
    } catch (error) {
      if (!(error instanceof ShuntError)) throw error;
      this.#rejected.set(uid, error);
    }
    return { uid, version, changed: true };
  }

  #forget(uid: string): void {
    this.#items.delete(uid);
    this.#rejected.delete(uid);
  }
}

function reasonOf(error: ShuntError, status: number | null): RestartReason {
  if (status === 410) return 'expired';
  if (status !== null) return 'refused';
  if (error.code === 'SHUNT_E_KUBE_SILENT') return 'silent';
  return error.code === 'SHUNT_E_KUBE_ANSWER' ? 'answer' : 'broken';
}

function parse<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  target: string,
): v.InferOutput<Schema> {
  const parsed = v.safeParse(schema, value);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const field = (issue.path ?? []).map(({ key }) => String(key)).join('.');
  const detail = `${field === '' ? 'the answer' : field}: ${issue.message}`;
  throw new KubeError('SHUNT_E_KUBE_ANSWER', detail, { target });
}
