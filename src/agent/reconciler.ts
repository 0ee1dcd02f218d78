/**
 * Makes the kernel hold what the manifests say, pod by pod. A pod's failure is that pod's alone, and a pod that was
 * enrolled stays so until its manifest is taken away, opts out, or its network namespace is gone: an error is no reason
 * to let its traffic pass by the sidecar.
 */
import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import type { Logger } from 'pino';
import type { PodRef } from '../cni/call.ts';
import { ShuntError } from '../errors.ts';
import type { ProfileContext } from '../mesh/profile.ts';
import { isThere } from '../pod/cgroup.ts';
import type { Snapshot } from '../pod/files.ts';
import { BY_ANNOTATION, type Locator, podName } from '../pod/locate.ts';
import type { PodObject, Workload } from '../pod/workload.ts';
import type { Findings } from './annotation_events.ts';
import type { PodReport, ReconcileReport } from './api.ts';
import { type Desire, desireOf, isRejected, labelOf, notesOf } from './desire.ts';
import type { NodeBackends } from './pod_backend.ts';
import { PodEnforcer } from './pod_enforcer.ts';
import { type HeldBy, isPod, type PodEntry, type PodState, reportOf, stateOf } from './pod_entry.ts';

/** Hears of passes as they run. */
export interface ReconcileObserver {
  began(): void;
  ended(tookMs: number, report: ReconcileReport | null): void;
  /** A pod that was not enrolled, or not whole, until now. */
  enrolled(workload: Workload): void;
}

/** Looking at one takes a millisecond or two, and a pod that starts meanwhile waits for a slice. */
const SLICE_PODS = 5;

type PassArguments = [snapshot: Snapshot, only: ReadonlySet<string> | null, whole?: boolean];

export class Reconciler {
  readonly #enforcer: PodEnforcer;
  readonly #context: () => ProfileContext;
  readonly #locator: Locator;
  readonly #log: Logger;
  readonly #observer: ReconcileObserver | null;
  #entries = new Map<string, PodEntry>();
  #turn: Promise<unknown> = Promise.resolve();
  #snapshot: Snapshot = { pods: [], rejected: [] };
  readonly #turns = new EventEmitter<{ ended: [] }>();

  /** @param context what pods are recognised with, asked for at each pass */
  constructor(
    backends: NodeBackends,
    log: Logger,
    context: () => ProfileContext = () => ({}),
    observer: ReconcileObserver | null = null,
    locator: Locator = BY_ANNOTATION,
  ) {
    this.#locator = locator;
    this.#enforcer = new PodEnforcer(backends, log, (workload) => observer?.enrolled(workload));
    this.#context = context;
    this.#log = log;
    this.#observer = observer;
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /**
   * One pass, after those that were asked for before it: over the pods that the snapshot says have changed, or over
   * everything.
   */
  reconcile(snapshot?: Snapshot): Promise<ReconcileReport> {
    return this.#queue(() => {
      this.#enforcer.forget();
      return this.#observed(snapshot ?? this.#snapshot, snapshot?.changed ?? null);
    });
  }

  /** As a pass over everything, but in slices, so that what happens meanwhile waits for one of them only. */
  async sweep(): Promise<ReconcileReport> {
    const uids = [...this.#entries.keys()];
    const report: ReconcileReport = { repaired: [], outstanding: [] };
    for (let at = 0; at <= uids.length; at += SLICE_PODS) {
      const slice = new Set(uids.slice(at, at + SLICE_PODS));
      const last = at + SLICE_PODS > uids.length;
      const { repaired, outstanding } = await this.#queue(() => this.#observed(this.#snapshot, slice, last));
      report.repaired.push(...repaired);
      report.outstanding.push(...outstanding);
    }
    return report;
  }

  /**
   * Waits until a pod that has not started is due to be looked for again, without a look at the clock where there is none.
   *
   * @returns false when the signal ended the wait
   */
  async retryDue(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      const waitMs = (this.#nextRetryMs() ?? Number.POSITIVE_INFINITY) - performance.now();
      if (waitMs <= 0) return true;
      const until = Number.isFinite(waitMs)
        ? AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(waitMs))])
        : signal;
      await once(this.#turns, 'ended', { signal: until }).catch(() => {});
    }
    return false;
  }

  /** On the monotonic clock; null without any. */
  #nextRetryMs(): number | null {
    const times = [...this.#entries.values()].flatMap(({ retry }) => retry?.atMs ?? []);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** A pass over the pods that are due to be looked for again. */
  retry(): Promise<ReconcileReport> {
    return this.#queue(() => {
      const nowMs = performance.now();
      const due = [...this.#entries].filter(([, { retry }]) => retry !== null && retry.atMs <= nowMs);
      return this.#observed(this.#snapshot, new Set(due.map(([uid]) => uid)));
    });
  }

  /** A pass over these pods, at which nothing of their manifests has changed. */
  look(uids: ReadonlySet<string>): Promise<ReconcileReport> {
    return this.#queue(() => this.#observed(this.#snapshot, uids));
  }

  /** Whether what came or went at this path may be the cgroup of the pod's sidecar. */
  concerns(uid: string, path: string): boolean {
    const isKnown = (this.#entries.get(uid)?.held?.sidecarCgroup ?? null) !== null;
    return isKnown ? this.hasLostSidecar(uid) : existsSync(path);
  }

  /** Whether the cgroup by which the pod's sidecar is told is gone. */
  hasLostSidecar(uid: string): boolean {
    const cgroup = this.#entries.get(uid)?.held?.sidecarCgroup ?? null;
    return cgroup !== null && !isThere(cgroup);
  }

  /** Directories in which the cgroups of the pod's containers come and go; none of a pod that is left alone. */
  directories(pod: PodObject): string[] {
    return this.#entries.get(podName(pod).uid)?.desire.kind === 'leave' ? [] : this.#locator.directories(pod);
  }

  /** Makes one pod true, in turn with the passes; a later one finds it as the source has it. */
  admit(pod: PodObject): Promise<{ state: PodReport['state']; error: ShuntError | null }> {
    return this.#queue(async () => {
      this.#locator.expire();
      const { uid } = podName(pod);
      const namespace = this.#snapshot.pods.find((known) => podName(known.pod).uid === uid)?.namespace;
      const desire = this.#desireOf(pod, namespace, this.#context());
      const taken = new Map<bigint, string>();
      for (const [other, { held }] of this.#entries)
        if (held !== null && other !== uid) taken.set(held.netns.cookie, labelOf(held));
      const report: ReconcileReport = { repaired: [], outstanding: [] };
      const entry = await this.#enforcer.settle(desire, this.#entries.get(uid) ?? null, taken, report);
      this.#entries.set(uid, entry);
      return { state: stateOf(entry), error: entry.error };
    });
  }

  /**
   * Takes a pod out of force where it has this network namespace, in turn with the passes. Where another pod has it,
   * nothing is done; where none is known to, what the kernel holds of an earlier agent goes.
   */
  dismiss(cookie: bigint, pod: PodRef, reason: string): Promise<void> {
    return this.#queue(async () => {
      const entry = [...this.#entries.values()].find(({ held }) => held?.netns.cookie === cookie);
      if (entry === undefined ? !this.#enforcer.isEnrolled(cookie) : !isPod(entry.desire.name, pod)) return;
      await this.#enforcer.withdraw(cookie, entry?.held ?? null, reason);
      if (entry === undefined) return;
      entry.held = null;
      entry.by = null;
      entry.error ??= new ShuntError('SHUNT_E_POD_NO_NETNS', reason, { target: labelOf(entry.desire.name) });
    });
  }

  /** Differences between the pod with this namespace and the kernel; null when none with it is in force. */
  drift(cookie: bigint): Promise<string[] | null> {
    return this.#queue(async () => {
      const workload = this.workloadOf(cookie);
      return workload === undefined ? null : await this.#enforcer.drift(workload);
    });
  }

  isLeft(pod: PodRef): boolean {
    for (const entry of this.#entries.values()) {
      if (isPod(entry.desire.name, pod)) return stateOf(entry) === 'left';
    }
    return false;
  }

  /** UIDs of the pods that are left alone. */
  left(): string[] {
    return [...this.#entries].flatMap(([uid, entry]) => (stateOf(entry) === 'left' ? [uid] : []));
  }

  #desireOf(pod: PodObject, namespace: ProfileContext['namespace'], context: ProfileContext): Desire {
    const whole = namespace === undefined ? context : { ...context, namespace };
    return desireOf(pod, whole, this.#locator.locate);
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const pass = this.#turn.then(work);
    this.#turn = pass.catch(() => {}).then(() => void this.#turns.emit('ended'));
    return pass;
  }

  /** Resolves when no pass is running. */
  async idle(): Promise<void> {
    await this.#turn;
  }

  workloadOf(cookie: bigint): Workload | undefined {
    for (const entry of this.#entries.values()) if (entry.held?.netns.cookie === cookie) return entry.held;
    return undefined;
  }

  /** Whether the pod with this uid is in force and as it is wanted. */
  isEnrolled(uid: string): boolean {
    const entry = this.#entries.get(uid);
    return entry !== undefined && entry.held !== null && entry.error === null;
  }

  /** What is wrong with the annotations of the pod with this uid; null when nothing is. */
  findings(uid: string): Findings | null {
    const entry = this.#entries.get(uid);
    if (entry === undefined || notesOf(entry.desire).length === 0) return null;
    return { notes: notesOf(entry.desire), rejected: isRejected(entry.desire) };
  }

  reports(): PodReport[] {
    const kernel = new Map<bigint, HeldBy>();
    for (const { backend, pods } of this.#enforcer.heldPods()) {
      for (const pod of pods) if (!kernel.has(pod.cookie)) kernel.set(pod.cookie, { backend, pod });
    }
    return [...this.#entries.values()].map((entry) => reportOf(entry, kernel));
  }

  /** Every pod's state without a look into the kernel. */
  states(): PodState[] {
    return [...this.#entries.values()].map((entry) => {
      return { state: stateOf(entry), backend: entry.by, causes: entry.causes };
    });
  }

  async #observed(...args: PassArguments): Promise<ReconcileReport> {
    const startedMs = performance.now();
    let report: ReconcileReport | null = null;
    this.#observer?.began();
    try {
      report = await this.#pass(...args);
      return report;
    } finally {
      this.#observer?.ended(performance.now() - startedMs, report);
    }
  }

  /**
   * @param only uids of the pods to look at; null for all
   * @param whole whether to look, too, at what the kernel holds besides pods of the source
   */
  async #pass(
    snapshot: Snapshot,
    only: ReadonlySet<string> | null,
    whole = only === null,
  ): Promise<ReconcileReport> {
    const report: ReconcileReport = { repaired: [], outstanding: [] };
    const context = this.#context();
    this.#snapshot = snapshot;
    this.#locator.expire();
    const before = this.#entries;
    const entries = new Map<string, PodEntry>();
    const taken = new Map<bigint, string>();
    const kept = (uid: string) => (only === null || only.has(uid) ? undefined : before.get(uid));
    for (const { pod } of snapshot.pods) {
      const held = kept(podName(pod).uid)?.held;
      if (held) taken.set(held.netns.cookie, labelOf(held));
    }
    for (const { pod, namespace } of snapshot.pods) {
      const { uid } = podName(pod);
      const earlier = before.get(uid) ?? null;
      const unchanged = kept(uid);
      const desire = unchanged?.desire ?? this.#desireOf(pod, namespace, context);
      entries.set(uid, unchanged ?? (await this.#enforcer.settle(desire, earlier, taken, report)));
    }
    await this.#withdrawOrphans(entries, before, snapshot, report, !whole);
    this.#entries = entries;
    if (whole) {
      report.repaired.push(...(await this.#enforcer.repair()));
    }
    if (report.repaired.length > 0)
      this.#log.warn({ event: 'drift', repaired: report.repaired }, 'repaired drift');
    return report;
  }

  /**
   * Takes out pods that no manifest names any more. A pod found in the kernel at start that no manifest names is kept
   * while any manifest cannot be understood: it may be the one.
   */
  async #withdrawOrphans(
    entries: ReadonlyMap<string, PodEntry>,
    before: ReadonlyMap<string, PodEntry>,
    snapshot: Snapshot,
    report: ReconcileReport,
    removedOnly: boolean,
  ): Promise<void> {
    const wanted = new Set([...entries.values()].flatMap((entry) => entry.held?.netns.cookie ?? []));
    const removed = new Map(
      [...before].flatMap(([uid, entry]) =>
        entries.has(uid) || entry.held === null ? [] : [[entry.held.netns.cookie, entry.held] as const],
      ),
    );
    const unclear = snapshot.rejected.length > 0 || [...entries.values()].some(({ error }) => error !== null);
    const cookies = removedOnly ? removed.keys() : this.#enforcer.cookies();
    for (const cookie of new Set(cookies)) {
      const pod = removed.get(cookie);
      const gone = this.#enforcer.isGone(cookie);
      if (wanted.has(cookie) && !gone) continue;
      if (pod !== undefined) await this.#enforcer.withdraw(cookie, pod, 'its manifest is gone');
      else if (gone)
        await this.#enforcer.withdraw(
          cookie,
          this.workloadOf(cookie) ?? null,
          'its network namespace is gone',
        );
      else if (unclear) {
        report.outstanding.push(
          `a pod enrolled earlier (netns cookie ${cookie}) is kept: no manifest names it, but some cannot be used`,
        );
      } else await this.#enforcer.withdraw(cookie, null, 'no manifest names it');
    }
    if (removedOnly) return;
    for (const entry of entries.values()) {
      if (entry.held === null || this.#enforcer.isEnrolled(entry.held.netns.cookie)) continue;
      entry.held = null;
      entry.by = null;
    }
  }
}
