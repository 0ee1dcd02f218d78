/**
 * Puts one pod in force, or takes it out: which backend has it, what is to be said of it once, and what stays in force
 * when something fails.
 */
import type { Logger } from 'pino';
import type { Datapath, HeldPod } from '../datapath/interface.ts';
import { ShuntError } from '../errors.ts';
import { resolveNetns } from '../pod/netns.ts';
import { PASSTHROUGH_6, wantsPassthrough } from '../pod/passthrough_address.ts';
import type { Workload } from '../pod/workload.ts';
import type { ReconcileReport } from './api.ts';
import { type Desire, isRejected, labelOf, notesOf } from './desire.ts';
import { NODES_OWN, type NodeBackends, type PodBackend, podBackend } from './pod_backend.ts';
import type { PodEntry } from './pod_entry.ts';

/** A pod whose sandbox is being made is looked for again soon, and then ever less often. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 30_000;

export class PodEnforcer {
  readonly #backends: NodeBackends;
  /** Those that run, eBPF before iptables. */
  readonly #datapaths: readonly Datapath[];
  readonly #log: Logger;
  readonly #onEnrolled: (workload: Workload) => void;
  #adopting = true;

  /** @param onEnrolled hears of a pod that was not enrolled, or not whole, until now */
  constructor(backends: NodeBackends, log: Logger, onEnrolled: (workload: Workload) => void) {
    this.#backends = backends;
    this.#datapaths = [backends.ebpf, backends.iptables].filter((datapath) => datapath !== null);
    this.#log = log;
    this.#onEnrolled = onEnrolled;
  }

  /**
   * Makes one pod what its manifest says, as far as that can be done.
   *
   * @param earlier what was known of it before
   * @param taken labels of other pods by the cookie of their network namespace; this one is added
   * @param report gets what was found other than it was left
   */
  async settle(
    desire: Desire,
    earlier: PodEntry | null,
    taken: Map<bigint, string>,
    report: ReconcileReport,
  ): Promise<PodEntry> {
    this.#tellNotes(desire, earlier);
    if (desire.kind === 'leave') return this.#leave(desire, earlier);
    const held = earlier?.held ?? null;
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
      const inForce = held ?? (this.isEnrolled(workload.netns.cookie) ? workload : null);
      return this.#failed(desire, inForce, error, earlier, backend);
    }
  }

  async #leave(desire: Desire & { kind: 'leave' }, earlier: PodEntry | null): Promise<PodEntry> {
    const { name, reason } = desire;
    const held = earlier?.held ?? null;
    if (held !== null) await this.withdraw(held.netns.cookie, name, reason);
    else if (earlier?.desire.kind !== 'leave') {
      this.#log.info({ event: 'pod-left', pod: labelOf(name), reason }, 'pod left alone');
    }
    const none = { held: null, by: null, backendReason: null, causes: [], others: [] };
    return { desire, ...none, error: null, retry: null };
  }

  /** A pod that is not where the node's others are, or that moves: said once. */
  #tellBackend(workload: Workload, { datapath, reason }: PodBackend, earlier: PodEntry | null): void {
    if (earlier?.backendReason === reason) return;
    const same = reason === NODES_OWN;
    if (same && earlier === null) return;
    const pod = labelOf(workload);
    this.#log.info({ event: 'pod-backend', pod, backend: datapath.backend, reason }, 'backend of the pod');
  }

  /** Said once, and again when it changes. */
  #tellOthers(workload: Workload, others: readonly string[], earlier: PodEntry | null): void {
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
    if (inKernel && !beside && drift.length === 0 && held !== null && !this.#adopting) return;
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
    if (!beside && (!inKernel || drift.length > 0)) this.#onEnrolled(workload);
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
  #tellNotes(desire: Desire, earlier: PodEntry | null): void {
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
    earlier: PodEntry | null,
    backend: PodBackend | null = null,
  ): PodEntry {
    const waits = error.code === 'SHUNT_E_POD_NOT_STARTED';
    const untold = earlier?.error?.message !== error.message;
    if (untold && (waits || (held === null && error.code === 'SHUNT_E_POD_NO_NETNS'))) {
      // Every pod is so from its binding to its sandbox, and again at its end.
      const fields = { event: 'pod-waits', pod: labelOf(desire.name), reason: error.message };
      this.#log.info(
        fields,
        held === null ? 'pod has no sandbox that is known' : 'nothing of the pod runs; it stays enrolled',
      );
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
      by: held === null ? null : this.holderOf(held.netns.cookie),
      backendReason: backend?.reason ?? earlier?.backendReason ?? null,
      causes: backend?.causes ?? earlier?.causes ?? [],
      others: earlier?.others ?? [],
      error,
      retry: waits ? { atMs: performance.now() + waitMs, waitMs } : null,
    };
  }

  /** Sets right what every data plane holds besides single pods. Pods that it finds from then on are its own. */
  async repair(): Promise<string[]> {
    const repaired: string[] = [];
    for (const datapath of this.#datapaths) repaired.push(...(await datapath.repair()));
    this.#adopting = false;
    return repaired;
  }

  /** For a look that takes nothing for granted. */
  forget(): void {
    for (const datapath of this.#datapaths) datapath.forget();
  }

  /** Differences between the pod and the kernel. */
  async drift(workload: Workload): Promise<string[]> {
    const datapath = this.#datapaths.find((each) => each.isEnrolled(workload.netns.cookie));
    return datapath === undefined ? ['the kernel does not hold it'] : await datapath.drift(workload);
  }

  /** Whether the network namespace with this cookie is no more. */
  isGone(cookie: bigint): boolean {
    return this.#datapaths.some((datapath) => datapath.isGone(cookie));
  }

  /** Cookies of the pods in force, whether any manifest names them or not. */
  cookies(): bigint[] {
    return this.#datapaths.flatMap((datapath) => datapath.cookies());
  }

  heldPods(): { backend: Datapath['backend']; pods: HeldPod[] }[] {
    return this.#datapaths.map((datapath) => ({ backend: datapath.backend, pods: datapath.pods() }));
  }

  isEnrolled(cookie: bigint): boolean {
    return this.holderOf(cookie) !== null;
  }

  holderOf(cookie: bigint): Datapath['backend'] | null {
    return this.#datapaths.find((datapath) => datapath.isEnrolled(cookie))?.backend ?? null;
  }

  /**
   * @param cookie of the network namespace
   * @param pod null where no manifest names it
   * @param reason for people
   */
  async withdraw(
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
  // Addresses of a namespace come later than itself: link-local ones once they are known to be nobody else's.
  return JSON.stringify([policy, ip4, ip6, acceleration, netns.addresses, ...where]);
}
