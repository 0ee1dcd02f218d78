/** Which of the node's backends enforces a pod, and why. */
import { type Beyond, beyond, unenforceable } from '../datapath/ebpf/enforceable.ts';
import type { Datapath } from '../datapath/interface.ts';
import { ShuntError } from '../errors.ts';
import type { BackendWish } from '../mesh/shunt_annotation.ts';
import type { Workload } from '../pod/workload.ts';

export interface PodBackend {
  datapath: Datapath;
  /** The one it is not, where the node runs it; what it holds of the pod is to go. */
  other: Datapath | null;
  /** For people. */
  reason: string;
  /** The same for metrics; several where eBPF cannot follow several settings. */
  causes: readonly PodBackendCause[];
}

/** Why a pod has its backend. `node`: as the node's others; `sidecar`: eBPF cannot serve the sidecar as it listens. */
export type PodBackendCause = 'node' | 'asked' | 'sidecar' | Beyond;

/** The backends that this agent runs. */
export interface NodeBackends {
  ebpf: Datapath | null;
  iptables: Datapath | null;
  /** --backend of the agent, for pods that have no wish. */
  wish: BackendWish;
  /** Why a node without eBPF is without. */
  reason: string;
}

/** The reason of a pod that has no other. */
export const NODES_OWN = "the node's backend";
const AS_NODE = { reason: NODES_OWN, causes: ['node'] } as const;
/** Of `--backend` and the annotation the annotation counts. */
const AS_ASKED = { reason: 'asked for with shunt.dev/backend', causes: ['asked'] } as const;

/**
 * `auto` is eBPF where it can follow the whole policy and serve the sidecar as it is, else iptables. `ebpf` and `iptables` are never swapped for the other.
 *
 * @throws SHUNT_E_BACKEND_UNAVAILABLE when the node does not run the one asked for
 */
export function podBackend(node: NodeBackends, workload: Workload, asked: BackendWish | null): PodBackend {
  const { ebpf, iptables } = node;
  const wish = asked ?? node.wish;
  if (wish === 'iptables') {
    if (iptables === null) throw unavailable(workload, 'iptables: another agent holds the run directory');
    return { datapath: iptables, other: ebpf, ...(asked === null ? AS_NODE : AS_ASKED) };
  }
  if (wish === 'ebpf') {
    if (ebpf === null) throw unavailable(workload, `eBPF: ${node.reason}`);
    return { datapath: ebpf, other: iptables, ...(asked === null ? AS_NODE : AS_ASKED) };
  }
  if (ebpf === null) {
    if (iptables === null) throw unavailable(workload, 'neither backend runs');
    return { datapath: iptables, other: null, ...AS_NODE };
  }
  const obstacles = ebpf.obstacles(workload);
  const cannot = [...beyondEbpf(workload), ...obstacles];
  if (cannot.length === 0) return { datapath: ebpf, other: iptables, ...AS_NODE };
  if (iptables === null) throw unavailable(workload, `iptables, which it needs: ${cannot.join('; ')}`);
  const reason = `eBPF cannot follow ${cannot.join('; ')}`;
  const causes = [...beyond(workload.policy), ...(obstacles.length > 0 ? (['sidecar'] as const) : [])];
  return { datapath: iptables, other: ebpf, reason, causes };
}

/** What eBPF would not follow, a sentence each. */
export function beyondEbpf({ policy }: Pick<Workload, 'policy'>): string[] {
  return unenforceable(policy);
}

function unavailable({ namespace, name }: Workload, detail: string): ShuntError {
  return new ShuntError('SHUNT_E_BACKEND_UNAVAILABLE', detail, { target: `${namespace}/${name}` });
}
