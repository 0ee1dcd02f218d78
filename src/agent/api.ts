import type { AccelerationState, HeldLink, HeldPod, MapFill } from '../datapath/interface.ts';
import type { TierState } from '../datapath/tier.ts';
import type { ErrorCode } from '../errors.ts';
import type { RedirectPolicy } from '../policy/policy.ts';

/**
 * The agent's local API: HTTP over a unix socket (mode 0600). JSON bodies, bigints as decimal strings.
 *
 *   GET  /v1/status         StatusReport
 *   GET  /v1/pods           PodReport[]
 *   POST /v1/reconcile      ReconcileReport
 *   POST /v1/acceleration   {"enabled": boolean} -> AccelerationState
 *   POST /v1/stop           {} ; the agent exits, everything pinned stays
 *
 * An error is {"error": {code, message, fix}} with status 4xx or 5xx.
 */
export const DEFAULT_SOCKET = '/run/shunt/agent.sock';
export const DEFAULT_CNI_SOCKET = '/run/shunt/cni.sock';
/** Where most distributions have the runtime's network configurations, and its plugins. */
export const DEFAULT_CNI_NET_DIR = '/etc/cni/net.d';
export const DEFAULT_CNI_BIN_DIR = '/opt/cni/bin';
export const DEFAULT_BPFFS = '/sys/fs/bpf';

export interface ErrorReport {
  code: ErrorCode | string;
  message: string;
  fix: string;
}

export interface PodReport {
  namespace: string;
  name: string;
  uid: string;
  /** enrolled; left (alone, with a reason); failed (with an error; what was enrolled before stays). */
  state: 'enrolled' | 'left' | 'failed';
  reason: string | null;
  error: ErrorReport | null;
  mesh: string | null;
  /** What enforces it now. */
  backend: 'ebpf' | 'iptables' | null;
  /** Why that one, for people. */
  backendReason: string | null;
  /** What others have put there that decides on its connections too, a sentence each. */
  others: string[];
  ip4: string | null;
  ip6: string | null;
  netns: { path: string; cookie: string } | null;
  /** `cgroup` = cgroup id and uid/gid; `uid` = uid/gid alone. */
  identity: 'cgroup' | 'uid' | null;
  policy: RedirectPolicy | null;
  held: HeldPod | null;
}

export interface StatusReport {
  version: string;
  pid: number;
  startedAt: string;
  backend: 'ebpf' | 'iptables';
  /** How far the kernel carries it, and why no further. */
  tier: TierState;
  /** Why this backend, for people. */
  backendReason: string;
  /** Cgroup that programs are attached to; null with iptables. */
  cgroup: string | null;
  bpffs: string;
  source: {
    kind: 'files' | 'kubernetes';
    path: string;
    manifests: number;
    rejected: (ErrorReport & { file: string })[];
  };
  /** Settings in force: null without --config. The error says why the file as it stands now is not. */
  settings: { path: string | null; error: ErrorReport | null };
  adopted: { links: number; pods: number };
  drift: { checkedAt: string; repaired: string[]; outstanding: string[] };
  acceleration: AccelerationState;
  pods: { enrolled: number; left: number; failed: number };
  /** Of the enrolled pods, how many each backend enforces. */
  enrolledBy: { ebpf: number; iptables: number };
  links: HeldLink[];
  maps: MapFill[];
}

export interface ReconcileReport {
  repaired: string[];
  outstanding: string[];
}
