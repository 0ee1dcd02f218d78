/**
 * What the CNI plugin's calls do to the pods of this node. ADD comes before the first container of a sandbox starts, so
 * whatever it runs is captured from its first packet; until the sidecar listens, that means refused.
 */
import { existsSync } from 'node:fs';
import type { Attachment, Attachments } from '../cni/attachments.ts';
import type { AttachmentId, PodRef } from '../cni/call.ts';
import type { AddCall, CniHandlers, DelCall } from '../cni/server.ts';
import { ShuntError } from '../errors.ts';
import { type Locator, NETNS_ANNOTATION, placeOf } from '../pod/locate.ts';
import { resolveNetns } from '../pod/netns.ts';
import type { PodObject } from '../pod/workload.ts';
import type { PodFinder } from './pod_finder.ts';

/** What is asked of the reconciler, one pod at a time and in turn with its passes. */
export interface PodEnroller {
  /** Makes one pod true now, and says what became of it. */
  admit(pod: PodObject): Promise<{ state: 'enrolled' | 'left' | 'failed'; error: Error | null }>;
  /** Takes the pod out of force where it has this network namespace; where another has it, nothing is done. */
  dismiss(cookie: bigint, pod: PodRef, reason: string): Promise<void>;
  /** Differences between the pod with this namespace and the kernel; null when no pod with it is in force. */
  drift(cookie: bigint): Promise<string[] | null>;
  /** True when the pod is left alone, so that there is nothing of it in the kernel. */
  isLeft(pod: PodRef): boolean;
}

export interface CniEnrolmentOptions {
  enroller: PodEnroller;
  finder: PodFinder;
  attachments: Attachments;
  /** What keeps ADD from being served, one sentence each. */
  hindrances(): string[];
  /** Brings on a pass over everything; not awaited. */
  reconcileSoon(): void;
  /** How long ADD waits for the source to tell of the pod. */
  findTimeoutMs: number;
}

export class CniEnrolment implements CniHandlers {
  readonly #options: CniEnrolmentOptions;

  constructor(options: CniEnrolmentOptions) {
    this.#options = options;
  }

  async add(call: AddCall, signal: AbortSignal): Promise<void> {
    // A container that is no pod of Kubernetes has no sidecar.
    if (call.pod === null) return;
    const { enroller, attachments } = this.#options;
    const pod = await this.#find(call, signal);
    const { path, cookie, addresses } = resolveNetns(call.netns);
    const { containerId, ifname, network } = call;
    // Some primary plugins list addresses that stand elsewhere.
    const ips = call.ips.filter((ip) => addresses.includes(ip));
    const attachment = { containerId, ifname, network, ips, pod: call.pod, netns: { path, cookie } };
    // Before the pod is enrolled: an agent that dies in between finds it again.
    const undo = attachments.put(attachment);
    const { state, error } = await enroller.admit(pod);
    if (state !== 'failed') return;
    undo();
    throw error ?? new ShuntError('SHUNT_E_INTERNAL');
  }

  async del(call: DelCall): Promise<void> {
    const attachment = this.#options.attachments.get(call);
    if (attachment !== null) await this.#remove(attachment, 'its sandbox is taken down');
  }

  async check(call: AddCall): Promise<void> {
    if (call.pod === null) return;
    const { enroller, attachments, reconcileSoon } = this.#options;
    const { namespace, name } = call.pod;
    const target = `${namespace}/${name}`;
    const differences: string[] = [];
    const attachment = attachments.get(call);
    const { cookie } = resolveNetns(call.netns);
    if (attachment === null) differences.push('no ADD of this sandbox is known');
    else if (attachment.netns.cookie !== cookie)
      differences.push('its network namespace is another than at ADD');
    const drift = await enroller.drift(cookie);
    if (drift !== null) differences.push(...drift);
    else if (attachment !== null && !enroller.isLeft(call.pod)) differences.push('it is not enrolled');
    if (differences.length === 0) return;
    reconcileSoon();
    throw new ShuntError('SHUNT_E_CNI_NOT_ENROLLED', differences.join('; '), { target });
  }

  async gc(network: string, valid: readonly AttachmentId[] | null): Promise<void> {
    // cnitool gives no list. To take that as an empty one would let every pod of the network pass its sidecar.
    if (valid === null) return;
    const isValid = (attachment: Attachment) =>
      valid.some((id) => id.containerId === attachment.containerId && id.ifname === attachment.ifname);
    const stale = this.#options.attachments
      .all()
      .filter((attachment) => attachment.network === network && !isValid(attachment));
    const errors: unknown[] = [];
    for (const attachment of stale) {
      // One that cannot be removed keeps none of the others.
      await this.#remove(attachment, 'the runtime no longer knows its sandbox').catch((error: unknown) =>
        errors.push(error),
      );
    }
    if (errors.length > 0) throw errors[0];
  }

  async status(): Promise<void> {
    const hindrances = this.#options.hindrances();
    if (hindrances.length > 0) throw new ShuntError('SHUNT_E_CNI_NOT_READY', hindrances.join('; '));
  }

  async #find({ pod: ref }: AddCall, signal: AbortSignal): Promise<PodObject> {
    if (ref === null) throw new ShuntError('SHUNT_E_INTERNAL');
    const { finder, findTimeoutMs } = this.#options;
    const pod = await finder.find(ref, AbortSignal.any([signal, AbortSignal.timeout(findTimeoutMs)]));
    if (pod !== null) return pod;
    throw new ShuntError('SHUNT_E_CNI_POD_UNKNOWN', undefined, { target: `${ref.namespace}/${ref.name}` });
  }

  /** Another interface of the sandbox may have come through us as well: the pod stays as long as one of them does. */
  async #remove(attachment: Attachment, reason: string): Promise<void> {
    const { attachments, enroller } = this.#options;
    const { pod, netns } = attachment;
    const isLast = attachments
      .all()
      .every(
        (other) =>
          other.netns.cookie !== netns.cookie || !isSame(other.pod, pod) || isSame(other, attachment),
      );
    if (isLast) await enroller.dismiss(netns.cookie, pod, reason);
    attachments.delete(attachment);
  }
}

function isSame(a: PodRef | AttachmentId, b: PodRef | AttachmentId): boolean {
  if ('containerId' in a)
    return 'containerId' in b && a.containerId === b.containerId && a.ifname === b.ifname;
  return 'namespace' in b && a.namespace === b.namespace && a.name === b.name && a.uid === b.uid;
}

/**
 * Finds pods where ADD said that they are, and the others as `source` does. A source that looks for a pod's processes
 * finds none before the sandbox runs; ADD comes before that.
 */
export function locatorBeside(attachments: Attachments, source: Locator): Locator {
  return {
    locate: (pod, sidecarContainer) => {
      const placed = placedBy(attachments, pod);
      const path = placed.metadata.annotations[NETNS_ANNOTATION];
      try {
        return source.locate(placed, sidecarContainer);
      } catch (error) {
        const notStarted = error instanceof ShuntError && error.code === 'SHUNT_E_POD_NOT_STARTED';
        if (!notStarted || placed === pod || path === undefined) throw error;
        return placeOf(placed, resolveNetns(path), null);
      }
    },
    expire: () => source.expire(),
    directories: (pod) => source.directories(pod),
  };
}

/** The pod where ADD found it: what the runtime says of its sandbox counts more than annotations, which are anybody's. */
function placedBy(attachments: Attachments, pod: PodObject): PodObject {
  const { metadata } = pod;
  const { namespace, name } = metadata;
  const attachment = attachments.ofPod({
    namespace,
    name,
    uid: metadata.staticUid ?? metadata.uid ?? `${namespace}/${name}`,
  });
  if (attachment === null || !existsSync(attachment.netns.path)) return pod;
  return {
    ...pod,
    metadata: {
      ...metadata,
      annotations: { ...metadata.annotations, [NETNS_ANNOTATION]: attachment.netns.path },
    },
    // status.podIPs may still be those of an earlier sandbox.
    status: { ...pod.status, podIPs: attachment.ips },
  };
}
