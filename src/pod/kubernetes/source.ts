/**
 * The pods of one node, from the API server: what is known now, and again whenever that changes. It tells at once what
 * it has, which with the server away is nothing and an error; whoever enforces keeps what is enforced until then.
 */
import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { ShuntError } from '../../errors.ts';
import type { Snapshot } from '../files.ts';
import type { PodObject } from '../workload.ts';
import type { ApiConnection } from './connection.ts';
import { type KubernetesNamespace, readKubernetesNamespace, readKubernetesPod } from './pod_object.ts';
import { Reflector, type ReflectorTimings, type WatchCounters } from './reflector.ts';

export interface KubernetesSourceOptions {
  connection: ApiConnection;
  nodeName: string;
  signal: AbortSignal;
  /** Whether anything of the pod still runs here, though the server has forgotten it. */
  isRunning(pod: PodObject): boolean;
  /** Whether what is done with the pod depends on its namespace: namespaces are watched from the first such pod on. */
  needsNamespace(pod: PodObject): boolean;
  timings?: ReflectorTimings;
  /** How long the first answer is waited for before a snapshot without one is told. */
  firstMs?: number;
  /** How often a pod that the server has forgotten is looked for here. */
  lingerMs?: number;
}

export interface Watch {
  resource: 'pods' | 'namespaces';
  counters: WatchCounters;
}

export class KubernetesSource {
  readonly #options: KubernetesSourceOptions;
  readonly #pods: Reflector<PodObject>;
  readonly #namespaces: Reflector<KubernetesNamespace>;
  #namespacesWanted = false;
  /** Forgotten by the server (deleted by force, or with its node) and still running here. */
  readonly #lingering = new Map<string, PodObject>();
  readonly #known = new Map<string, PodObject>();
  readonly #changed = new Set<string>();
  #everything = true;
  #wasSynced = false;
  /** Something is to be told that concerns no pod: an error, or its end. */
  #told = false;
  readonly #news = new EventEmitter();

  constructor(options: KubernetesSourceOptions) {
    const { connection, nodeName, timings } = options;
    this.#options = options;
    this.#pods = new Reflector({
      connection,
      path: '/api/v1/pods',
      fieldSelector: `spec.nodeName=${nodeName}`,
      read: readKubernetesPod,
      changed: (uids) => this.#podsChanged(uids),
      ...(timings ? { timings } : {}),
    });
    this.#namespaces = new Reflector({
      connection,
      path: '/api/v1/namespaces',
      read: readKubernetesNamespace,
      changed: () => {
        this.#everything = true;
        this.#tell();
      },
      ...(timings ? { timings } : {}),
    });
  }

  /** What is watched, and what its watch counts. */
  get watches(): Watch[] {
    const pods: Watch = { resource: 'pods', counters: this.#pods };
    return this.#namespacesWanted ? [pods, { resource: 'namespaces', counters: this.#namespaces }] : [pods];
  }

  /** Runs until the signal; a snapshot holds all pods and says which of them changed since the one before. */
  async *snapshots(): AsyncGenerator<Snapshot, void, void> {
    const { signal, firstMs = 5_000 } = this.#options;
    const stop = new AbortController();
    const ended = AbortSignal.any([signal, stop.signal]);
    // Held from the start: what changes while a snapshot is worked on must not be missed.
    this.#news.setMaxListeners(0);
    const running = [this.#pods.run(ended), this.#lookForLingering(ended)];
    try {
      await this.#first(firstMs, ended);
      while (!ended.aborted) {
        const snapshot = this.#snapshot();
        if (this.#namespacesWanted && running.length === 2) running.push(this.#namespaces.run(ended));
        yield snapshot;
        if (!this.#pending()) await once(this.#news, 'news', { signal: ended }).catch(() => {});
      }
    } finally {
      stop.abort();
      await Promise.all(running);
    }
  }

  async #first(firstMs: number, signal: AbortSignal): Promise<void> {
    const late = AbortSignal.any([signal, AbortSignal.timeout(firstMs)]);
    while (!this.#pods.synced && this.#pods.error === null && !late.aborted) {
      await once(this.#news, 'news', { signal: late }).catch(() => {});
    }
  }

  #pending(): boolean {
    return this.#everything || this.#told || this.#changed.size > 0;
  }

  #tell(): void {
    this.#told = true;
    this.#news.emit('news');
  }

  #podsChanged(uids: ReadonlySet<string>): void {
    const { isRunning, needsNamespace } = this.#options;
    if (!this.#wasSynced && this.#pods.synced) {
      // Only now can be told which pods that are enforced exist no more.
      this.#wasSynced = true;
      this.#everything = true;
    }
    for (const uid of uids) {
      this.#changed.add(uid);
      const pod = this.#pods.get(uid);
      const before = this.#known.get(uid);
      if (pod !== undefined) {
        this.#known.set(uid, pod);
        this.#lingering.delete(uid);
        if (needsNamespace(pod)) this.#namespacesWanted = true;
      } else if (before !== undefined && !this.#pods.rejected.has(uid)) {
        this.#known.delete(uid);
        if (isRunning(before)) this.#lingering.set(uid, before);
      }
    }
    this.#tell();
  }

  async #lookForLingering(signal: AbortSignal): Promise<void> {
    const { isRunning, lingerMs = 1_000 } = this.#options;
    while (!signal.aborted) {
      if (this.#lingering.size === 0) {
        await once(this.#news, 'news', { signal }).catch(() => {});
        continue;
      }
      await delay(lingerMs, undefined, { signal }).catch(() => {});
      for (const [uid, pod] of this.#lingering) {
        if (signal.aborted || isRunning(pod)) continue;
        this.#lingering.delete(uid);
        this.#changed.add(uid);
        this.#tell();
      }
    }
  }

  #snapshot(): Snapshot {
    const changed = this.#everything ? null : new Set(this.#changed);
    this.#everything = false;
    this.#told = false;
    this.#changed.clear();
    const { server } = this.#options.connection;
    const namespaces = new Map([...this.#namespaces.values()].map((each) => [each.name, each]));
    const pods = [...this.#pods.values(), ...this.#lingering.values()].map((pod) => {
      const namespace = namespaces.get(pod.metadata.namespace);
      return { pod, file: server, ...(namespace === undefined ? {} : { namespace }) };
    });
    return { pods, rejected: this.#rejected(server), changed };
  }

  #rejected(server: string): Snapshot['rejected'] {
    const { synced, error } = this.#pods;
    // Without it nobody could tell that there are no pods from their not being known yet.
    const unknown =
      synced || error !== null ? null : new ShuntError('SHUNT_E_KUBE_UNREACHABLE', 'no answer yet');
    const errors: (ShuntError | null)[] = [unknown, error, ...this.#pods.rejected.values()];
    if (this.#namespacesWanted) errors.push(this.#namespaces.error);
    return errors.flatMap((error) => (error === null ? [] : { file: server, error }));
  }
}
