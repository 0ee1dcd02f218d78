/**
 * Makes the kernel hold what the manifests say, pod by pod. A pod's failure is that pod's alone, and a pod that was
 * enrolled stays so until its manifest is taken away, opts out, or its network namespace is gone: an error is no reason
 * to let its traffic pass by the sidecar.
 */
import type { Logger } from 'pino';
import type { PodRef } from '../cni/call.ts';
import type { Datapath, HeldPod } from '../datapath/interface.ts';
import { errorReport, ShuntError } from '../errors.ts';
import type { PolicyNote, ProfileContext } from '../mesh/profile.ts';
import type { Snapshot } from '../pod/files.ts';
import { BY_ANNOTATION, type Locator, podName } from '../pod/locate.ts';
import { resolveNetns } from '../pod/netns.ts';
import { PASSTHROUGH_6, wantsPassthrough } from '../pod/passthrough_address.ts';
import type { PodName, PodObject, Workload } from '../pod/workload.ts';
import type { Findings } from './annotation_events.ts';
import type { PodReport, ReconcileReport } from './api.ts';
import { type Desire, desireOf, labelOf } from './desire.ts';
import {
  NODES_OWN,
  type NodeBackends,
  type PodBackend,
  type PodBackendCause,
  podBackend,
} from './pod_backend.ts';

interface Entry {
  desire: Desire;
  /** What is in force, which for a failed pod is what was before; null when it is not enrolled. */
  held: Workload | null;
  /** What enforces it; null when it is not enrolled. */
  by: Datapath['backend'] | null;
  /** Why the pod has the backend it has, or was to have; null before it was chosen. */
  backendReason: string | null;
  causes: readonly PodBackendCause[];
  others: readonly string[];
  error: ShuntError | null;
  /** Of a pod that has not started: when it is looked for again, on the monotonic clock. */
  retry: { atMs: number; waitMs: number } | null;
}

/** Hears of passes as they run. */
export interface ReconcileObserver {
  began(): void;
  ended(tookMs: number, report: ReconcileReport | null): void;
  /** A pod that was not enrolled, or not whole, until now. */
  enrolled(workload: Workload): void;
}

/** A pod in the fewest words. */
export interface PodState {
  state: PodReport['state'];
  backend: PodReport['backend'];
  causes: readonly PodBackendCause[];
}
/** A pod whose sandbox is being made is looked for again soon, and then ever less often. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 30_000;
/** Looking at one takes about a millisecond. */
const SLICE_PODS = 20;

type PassArguments = [snapshot: Snapshot, only: ReadonlySet<string> | null, whole?: boolean];

export class Reconciler {
  readonly #backends: NodeBackends;
  /** Those that run, eBPF before iptables. */
  readonly #datapaths: readonly Datapath[];
  readonly #context: () => ProfileContext;
  readonly #locator: Locator;
  readonly #log: Logger;
  readonly #observer: ReconcileObserver | null;
  #entries = new Map<string, Entry>();
  #first = true;
  #turn: Promise<unknown> = Promise.resolve();
  #snapshot: Snapshot = { pods: [], rejected: [] };

  /** @param context what pods are recognised with, asked for at each pass */
  constructor(
    backends: NodeBackends,
    log: Logger,
    context: () => ProfileContext = () => ({}),
    observer: ReconcileObserver | null = null,
    locator: Locator = BY_ANNOTATION,
  ) {
    this.#locator = locator;
    this.#backends = backends;
    this.#datapaths = [backends.ebpf, backends.iptables].filter((datapath) => datapath !== null);
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
    return this.#queue(() => this.#observed(snapshot ?? this.#snapshot, snapshot?.changed ?? null));
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

  /** When the next pod that has not started is to be looked for again, on the monotonic clock; null without any. */
  get nextRetryMs(): number | null {
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
      const entry = await this.#settle(desire, this.#entries.get(uid) ?? null, taken, report);
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
      if (entry === undefined ? !this.#isEnrolled(cookie) : !isPod(entry.desire.name, pod)) return;
      await this.#withdraw(cookie, entry?.held ?? null, reason);
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
      if (workload === undefined) return null;
      const datapath = this.#datapaths.find((each) => each.isEnrolled(cookie));
      return datapath === undefined ? ['the kernel does not hold it'] : await datapath.drift(workload);
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
    this.#turn = pass.catch(() => {});
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
    const kernel = new Map<bigint, Held>();
    for (const { backend, pods } of this.#heldPods()) {
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
    const entries = new Map<string, Entry>();
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
      entries.set(uid, unchanged ?? (await this.#settle(desire, earlier, taken, report)));
    }
    await this.#withdrawOrphans(entries, before, snapshot, report, !whole);
    this.#entries = entries;
    if (whole) {
      for (const datapath of this.#datapaths) report.repaired.push(...(await datapath.repair()));
      this.#first = false;
    }
    if (report.repaired.length > 0)
      this.#log.warn({ event: 'drift', repaired: report.repaired }, 'repaired drift');
    return report;
  }

  async #settle(
    desire: Desire,
    earlier: Entry | null,
    taken: Map<bigint, string>,
    report: ReconcileReport,
  ): Promise<Entry> {
    const held = earlier?.held ?? null;
    this.#tellNotes(desire, earlier);
    if (desire.kind === 'leave') {
      if (held !== null) await this.#withdraw(held.netns.cookie, desire.name, desire.reason);
      else if (earlier?.desire.kind !== 'leave') {
        this.#log.info(
          { event: 'pod-left', pod: labelOf(desire.name), reason: desire.reason },
          'pod left alone',
        );
      }
      return {
        desire,
        held: null,
        by: null,
        backendReason: null,
        causes: [],
        others: [],
        error: null,
        retry: null,
      };
    }
    if (desire.kind === 'failed') return this.#failed(desire, held, desire.error, earlier);
    const { workload } = desire;
    const other = taken.get(workload.netns.cookie);
    if (other !== undefined) {
      const detail = `its network namespace ${workload.netns.path} is that of ${other}`;
      const error = new ShuntError('SHUNT_E_NETNS_TAKEN', detail, { target: labelOf(desire.name) });
      return this.#failed(desire, held, error, earlier);
    }
    taken.set(workload.netns.cookie, labelOf(desire.name));
    let backend: PodBackend | null = null;
    try {
      backend = podBackend(this.#backends, workload, desire.backend);
      this.#tellBackend(workload, backend, earlier);
      await this.#enroll(workload, held, backend, report);
      const others = backend.datapath.others(workload);
      this.#tellOthers(workload, others, earlier);
      const { reason: backendReason, causes } = backend;
      const by = backend.datapath.backend;
      return { desire, held: workload, by, backendReason, causes, others, error: null, retry: null };
    } catch (error) {
      if (!(error instanceof ShuntError)) throw error;
      // An adopted pod that could not be taken over is still in force.
      const inForce = held ?? (this.#isEnrolled(workload.netns.cookie) ? workload : null);
      return this.#failed(desire, inForce, error, earlier, backend);
    }
  }

  /** A pod that is not where the node's others are, or that moves: said once. */
  #tellBackend(workload: Workload, { datapath, reason }: PodBackend, earlier: Entry | null): void {
    if (earlier?.backendReason === reason) return;
    const same = reason === NODES_OWN;
    if (same && earlier === null) return;
    const pod = labelOf(workload);
    this.#log.info({ event: 'pod-backend', pod, backend: datapath.backend, reason }, 'backend of the pod');
  }

  /** Said once, and again when it changes. */
  #tellOthers(workload: Workload, others: readonly string[], earlier: Entry | null): void {
    if (others.length === 0 || earlier?.others.join() === others.join()) return;
    this.#log.warn({ event: 'others', pod: labelOf(workload), others }, 'not alone in the pod');
  }

  async #enroll(
    workload: Workload,
    held: Workload | null,
    { datapath, other }: PodBackend,
    report: ReconcileReport,
  ): Promise<void> {
    const { cookie } = workload.netns;
    const pod = labelOf(workload);
    const inKernel = datapath.isEnrolled(cookie);
    const beside = other?.isEnrolled(cookie) ?? false;
    const drift = inKernel ? await datapath.drift(workload) : [];
    // At the first pass an adopted pod is taken over whatever it holds: its programs are to become this agent's.
    if (inKernel && !beside && drift.length === 0 && held !== null && !this.#first) return;
    const startedMs = performance.now();
    await datapath.enroll(workload);
    if (beside && other !== null) {
      // Both decide alike meanwhile, as beside a mesh's own rules: no connection passes between.
      await other.withdraw(cookie);
      // With it went ::6 from lo, where it was the one that added it.
      const netns = resolveNetns(workload.netns.path);
      if (wantsPassthrough(workload) && !netns.addresses.includes(PASSTHROUGH_6)) {
        await datapath.enroll({ ...workload, netns });
      }
      const change = { from: other.backend, to: datapath.backend };
      this.#log.info({ event: 'pod-backend-changed', pod, ...change }, 'pod has another backend');
    }
    if (!beside && (!inKernel || drift.length > 0)) this.#observer?.enrolled(workload);
    const tookMs = Math.round((performance.now() - startedMs) * 100) / 100;
    if (held !== null && held.netns.cookie !== cookie) {
      for (const each of this.#datapaths) await each.withdraw(held.netns.cookie);
      this.#log.info(
        { event: 'pod-moved', pod, from: held.netns.cookie, to: cookie },
        'pod has a new network namespace',
      );
    }
    const changed = held !== null && wishOf(held) !== wishOf(workload);
    // What differs because the pod changed is no drift.
    if (inKernel && !changed && held !== null)
      report.repaired.push(...drift.map((what) => `${pod}: ${what}`));
    if (inKernel && held === null && drift.length > 0) {
      report.repaired.push(...drift.map((what) => `${pod} (adopted): ${what}`));
    }
    const event = inKernel && held === null ? 'pod-adopted' : held === null ? 'pod-enrolled' : 'pod-updated';
    this.#log.info(
      { event, pod, mesh: workload.policy.mesh, backend: datapath.backend, netns: cookie, tookMs },
      event.replace('-', ' '),
    );
  }

  /** Once, and again when they change; what the mesh rejects is told as the pod's failure. */
  #tellNotes(desire: Desire, earlier: Entry | null): void {
    const notes = isRejected(desire) ? [] : notesOf(desire);
    if (JSON.stringify(notes) === JSON.stringify(earlier === null ? [] : notesOf(earlier.desire))) return;
    for (const note of notes) {
      this.#log.warn(
        { event: 'annotation', pod: labelOf(desire.name), ...note },
        'annotation not taken as it stands',
      );
    }
  }

  #failed(
    desire: Desire,
    held: Workload | null,
    error: ShuntError,
    earlier: Entry | null,
    backend: PodBackend | null = null,
  ): Entry {
    const waits = error.code === 'SHUNT_E_POD_NOT_STARTED';
    const untold = earlier?.error?.message !== error.message;
    if (untold && held === null && (waits || error.code === 'SHUNT_E_POD_NO_NETNS')) {
      // Every pod is so from its binding to its sandbox, and again at its end.
      const fields = { event: 'pod-waits', pod: labelOf(desire.name), reason: error.message };
      this.#log.info(fields, 'pod has no sandbox that is known');
    } else if (untold) {
      this.#log.error(
        { event: 'pod-failed', pod: labelOf(desire.name), enrolled: held !== null, ...error.toJSON() },
        held === null ? 'pod cannot be enrolled' : 'pod stays as it was enrolled before',
      );
    }
    const waitMs = Math.min(LONGEST_RETRY_MS, 1.5 * (earlier?.retry?.waitMs ?? FIRST_RETRY_MS / 1.5));
    return {
      desire,
      held,
      by: held === null ? null : this.#holderOf(held.netns.cookie),
      backendReason: backend?.reason ?? earlier?.backendReason ?? null,
      causes: backend?.causes ?? earlier?.causes ?? [],
      others: earlier?.others ?? [],
      error,
      retry: waits ? { atMs: performance.now() + waitMs, waitMs } : null,
    };
  }

  /**
   * Takes out pods that no manifest names any more. A pod found in the kernel at start that no manifest names is kept
   * while any manifest cannot be understood: it may be the one.
   */
  async #withdrawOrphans(
    entries: ReadonlyMap<string, Entry>,
    before: ReadonlyMap<string, Entry>,
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
    const cookies = removedOnly
      ? removed.keys()
      : this.#heldPods().flatMap(({ pods }) => pods.map((each) => each.cookie));
    for (const cookie of new Set(cookies)) {
      const pod = removed.get(cookie);
      const gone = this.#datapaths.some((datapath) => datapath.isGone(cookie));
      if (wanted.has(cookie) && !gone) continue;
      if (pod !== undefined) await this.#withdraw(cookie, pod, 'its manifest is gone');
      else if (gone)
        await this.#withdraw(cookie, this.workloadOf(cookie) ?? null, 'its network namespace is gone');
      else if (unclear) {
        report.outstanding.push(
          `a pod enrolled earlier (netns cookie ${cookie}) is kept: no manifest names it, but some cannot be used`,
        );
      } else await this.#withdraw(cookie, null, 'no manifest names it');
    }
    if (removedOnly) return;
    for (const entry of entries.values()) {
      if (entry.held === null || this.#isEnrolled(entry.held.netns.cookie)) continue;
      entry.held = null;
      entry.by = null;
    }
  }

  #heldPods(): { backend: Datapath['backend']; pods: HeldPod[] }[] {
    return this.#datapaths.map((datapath) => ({ backend: datapath.backend, pods: datapath.pods() }));
  }

  #isEnrolled(cookie: bigint): boolean {
    return this.#holderOf(cookie) !== null;
  }

  #holderOf(cookie: bigint): Datapath['backend'] | null {
    return this.#datapaths.find((datapath) => datapath.isEnrolled(cookie))?.backend ?? null;
  }

  async #withdraw(
    cookie: bigint,
    pod: { namespace: string; name: string } | null,
    reason: string,
  ): Promise<void> {
    for (const datapath of this.#datapaths) await datapath.withdraw(cookie);
    const label = pod === null ? null : `${pod.namespace}/${pod.name}`;
    this.#log.info({ event: 'pod-withdrawn', pod: label, netns: cookie, reason }, 'pod withdrawn');
  }
}

/** All of a workload that the kernel is to hold, as text. */
function wishOf({ policy, ip4, ip6, sidecarCgroup, acceleration, netns }: Workload): string {
  const where = [sidecarCgroup?.id ?? null, netns.cookie].map(String);
  return JSON.stringify([policy, ip4, ip6, acceleration, ...where]);
}

interface Held {
  backend: Datapath['backend'];
  pod: HeldPod;
}

/** Of a pod without a UID in its manifest the name is all there is. */
function isPod(known: PodName, { namespace, name, uid }: PodRef): boolean {
  if (known.namespace !== namespace || known.name !== name) return false;
  return uid === null || known.uid === uid || known.uid === `${namespace}/${name}`;
}

function notesOf(desire: Desire): readonly PolicyNote[] {
  return desire.kind === 'leave' ? [] : desire.notes;
}

function isRejected(desire: Desire): boolean {
  return desire.kind === 'failed' && desire.error.code === 'SHUNT_E_MESH_REJECTED';
}

function stateOf({ held, error }: Entry): PodReport['state'] {
  return error !== null ? 'failed' : held !== null ? 'enrolled' : 'left';
}

function reportOf(entry: Entry, kernel: ReadonlyMap<bigint, Held>): PodReport {
  const { desire, held, error } = entry;
  const inKernel = held === null ? undefined : kernel.get(held.netns.cookie);
  return {
    ...desire.name,
    state: stateOf(entry),
    reason: desire.kind === 'leave' ? desire.reason : null,
    error: error === null ? null : errorReport(error),
    mesh: held?.policy.mesh ?? null,
    backend: inKernel?.backend ?? null,
    backendReason: entry.backendReason,
    others: [...entry.others],
    ip4: held?.ip4 ?? null,
    ip6: held?.ip6 ?? null,
    netns: held === null ? null : { path: held.netns.path, cookie: String(held.netns.cookie) },
    identity: held === null ? null : held.sidecarCgroup === null ? 'uid' : 'cgroup',
    policy: held?.policy ?? null,
    held: inKernel?.pod ?? null,
  };
}
