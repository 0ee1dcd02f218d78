/** When the agent looks at its pods: as the source changes, as containers come, as a pod is due, and at intervals. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Snapshot } from '../pod/files.ts';
import { podName } from '../pod/locate.ts';
import type { ReconcileReport, StatusReport } from './api.ts';
import type { CniService } from './cni_service.ts';
import { ContainerWatch } from './container_watch.ts';
import type { Reconciler } from './reconciler.ts';
import { Rejections } from './source_log.ts';

export interface PassOptions {
  reconciler: Reconciler;
  cni: CniService | null;
  log: Logger;
  /** After it no pass begins by itself. */
  signal: AbortSignal;
  /** Hears of what was looked at, after a pass whose findings are for the source. */
  looked(snapshot: Snapshot): void;
}

/** Before pods are looked for again after a pass that failed. */
const FAILED_MS = 100;

export class Passes implements Disposable {
  /** What the last pass over everything found. */
  readonly drift: StatusReport['drift'];
  readonly #options: PassOptions;
  readonly #containers: ContainerWatch;
  readonly #rejections: Rejections;
  /** Pods of which a container's cgroup came or went. */
  readonly #pending = new Set<string>();

  constructor(options: PassOptions) {
    this.#options = options;
    this.drift = { checkedAt: new Date().toISOString(), repaired: [], outstanding: [] };
    this.#rejections = new Rejections(options.log);
    this.#containers = new ContainerWatch((uid, path) => {
      if (options.reconciler.concerns(uid, path)) this.#lookSoon(uid);
    });
  }

  /** One pass over what the snapshot says has changed, or over everything. */
  async reconcile(snapshot?: Snapshot): Promise<ReconcileReport> {
    const { reconciler, cni } = this.#options;
    if (snapshot !== undefined) cni?.finder.update(snapshot.pods.map(({ pod }) => pod));
    const only = snapshot?.changed ?? null;
    // Before the pass looks for cgroups, so that none comes between; and those that it found.
    this.#watchContainers(snapshot ?? reconciler.snapshot, only);
    const report = await reconciler.reconcile(snapshot);
    this.#watchContainers(reconciler.snapshot, only);
    cni?.passed(reconciler);
    // A pass over some pods says nothing of the others.
    if (!snapshot?.changed) this.#checked(report);
    return report;
  }

  /** The first pass; one that fails ends the agent. */
  async first(snapshot: Snapshot): Promise<void> {
    this.#rejections.tell(snapshot);
    await this.reconcile(snapshot);
    this.#options.looked(snapshot);
  }

  /** A pass over everything that nobody waits for. */
  soon(): void {
    if (!this.#options.signal.aborted) void this.#try(this.reconcile());
  }

  /** A pass over everything, for new settings. */
  async again(): Promise<void> {
    await this.#try(this.reconcile());
    this.#options.looked(this.#options.reconciler.snapshot);
  }

  /** A pass for each snapshot, until there are no more. */
  async follow(snapshots: AsyncIterator<Snapshot>): Promise<void> {
    for (let next = await snapshots.next(); next.done !== true; next = await snapshots.next()) {
      this.#rejections.tell(next.value);
      await this.#try(this.reconcile(next.value));
      this.#options.looked(next.value);
    }
  }

  /** Pods that have no process yet are looked for again, without waiting for the next event or the next full pass. */
  async lookAgain(): Promise<void> {
    const { reconciler, signal, looked } = this.#options;
    while (await reconciler.retryDue(signal)) {
      // A pass that failed leaves its pods due.
      if (!(await this.#try(reconciler.retry())))
        await delay(FAILED_MS, undefined, { signal }).catch(() => {});
      looked(reconciler.snapshot);
    }
  }

  async periodically(intervalMs: number): Promise<void> {
    const { signal } = this.#options;
    for (;;) {
      await delay(intervalMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await this.#try(this.#sweep());
    }
  }

  [Symbol.dispose](): void {
    this.#containers[Symbol.dispose]();
  }

  async #sweep(): Promise<void> {
    const { reconciler, cni } = this.#options;
    this.#watchContainers(reconciler.snapshot, null);
    const report = await reconciler.sweep();
    cni?.passed(reconciler);
    this.#checked(report);
  }

  /** @param only uids of the pods that were looked at; null for all */
  #watchContainers({ pods }: Snapshot, only: ReadonlySet<string> | null): void {
    const { reconciler } = this.#options;
    const known = new Map(pods.map(({ pod }) => [podName(pod).uid, pod]));
    this.#containers.keep(new Set(known.keys()));
    for (const [uid, pod] of known) {
      if (only !== null && !only.has(uid)) continue;
      const isNew = this.#containers.set(uid, reconciler.directories(pod));
      // It went after it was looked for, and before it was watched.
      if (isNew && reconciler.hasLostSidecar(uid)) this.#lookSoon(uid);
    }
  }

  /** One pass for all that come at once. */
  #lookSoon(uid: string): void {
    this.#pending.add(uid);
    if (this.#pending.size > 1) return;
    setImmediate(() => {
      const uids = new Set(this.#pending);
      this.#pending.clear();
      if (!this.#options.signal.aborted) void this.#try(this.#look(uids));
    });
  }

  async #look(uids: ReadonlySet<string>): Promise<void> {
    const { reconciler, cni } = this.#options;
    await reconciler.look(uids);
    this.#watchContainers(reconciler.snapshot, uids);
    cni?.passed(reconciler);
  }

  #checked(report: ReconcileReport): void {
    Object.assign(this.drift, report, { checkedAt: new Date().toISOString() });
  }

  /** @returns whether it went through */
  async #try(pass: Promise<unknown>): Promise<boolean> {
    try {
      await pass;
      return true;
    } catch (error) {
      this.#options.log.error({ err: error }, 'reconcile failed; tried again');
      return false;
    }
  }
}
