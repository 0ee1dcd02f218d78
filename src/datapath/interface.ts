import type { Workload } from '../pod/workload.ts';
import type { Acceleration } from '../policy/policy.ts';

/** What the kernel holds of one pod. */
export interface HeldPod {
  cookie: bigint;
  ip4: string | null;
  ip6: string | null;
  /** Inbound steering is attached. */
  inbound: boolean;
  /** Listeners captured for inbound, per family. */
  listeners: { ip4: number; ip6: number };
  acceleration: Acceleration;
  counters: Record<string, bigint>;
}

export interface HeldLink {
  name: string;
  attachType: string;
  /** False when the pin is there and the attachment is gone (its cgroup or netns was deleted). */
  attached: boolean;
  linkId: number;
  programId: number;
}

export interface MapFill {
  name: string;
  type: string;
  entries: number | null;
  capacity: number;
}

export interface AccelerationState {
  enabled: boolean;
  /** Why it is on or off. */
  reason: string;
  /** What the canary saw, where it ran. */
  canary?: readonly CanaryItem[];
}

/** One thing that acceleration must not change, tried out on this kernel. */
export interface CanaryItem {
  name:
    | 'redirect'
    | 'order'
    | 'bound'
    | 'wake-ups'
    | 'half close'
    | 'reset'
    | 'unread bytes'
    | 'unread redirected bytes'
    | 'splice';
  /** What stays off when it fails: everything, sockets of applications, or nothing that is on by default. */
  needed: 'all' | 'applications' | 'note';
  /** What was wrong; null when nothing was. */
  fault: string | null;
}

/** A thing that happened in the kernel and that a person should hear of. */
export interface DatapathEvent {
  kind: string;
  netns: bigint;
  uid: number;
  gid: number;
  pid: number;
  comm: string;
  /** Destination as address:port. */
  destination: string;
}

/** One way of making policies true in the kernel. ebpf/ and iptables/ implement it. */
export interface Datapath extends Disposable {
  readonly backend: 'ebpf' | 'iptables';
  /** How many links and pods were found in place at start. */
  readonly adopted: { links: number; pods: number };
  /** Makes the workload true, or leaves what was there as it was and throws. Idempotent. */
  enroll(workload: Workload): Promise<void>;
  /** Removes every trace of the pod. Idempotent. */
  withdraw(cookie: bigint): Promise<void>;
  /** Differences between the workload and the kernel, one sentence each; empty when true. */
  drift(workload: Workload): Promise<string[]>;
  /** What was found whole lately, and would not be looked at again at once, is. */
  forget(): void;
  /** What there is in the pod now, beside its policy, that this backend cannot follow; empty when it can take it. */
  obstacles(workload: Workload): string[];
  /** What others have put beside the workload's enrolment that decides on its connections too, a sentence each. */
  others(workload: Workload): string[];
  /** Repairs node-wide state (links, settings); one sentence for each thing repaired. */
  repair(): Promise<string[]>;
  /** True when the pod's connections are being decided. */
  isEnrolled(cookie: bigint): boolean;
  /** True when the network namespace of an enrolled pod no longer exists. */
  isGone(cookie: bigint): boolean;
  /** Captures sidecar listeners that are not yet, where the backend needs that; how many. */
  recapture(workload: Workload): number;
  /** Cookies of the pods whose connections are being decided. */
  cookies(): bigint[];
  pods(): HeldPod[];
  links(): HeldLink[];
  maps(): MapFill[];
  /** Totals over all pods, those that are gone included; empty where the backend counts nothing. */
  counters(): Record<string, bigint>;
  acceleration(): AccelerationState;
  setAcceleration(enabled: boolean): void;
  events(signal: AbortSignal): AsyncIterable<DatapathEvent>;
}
