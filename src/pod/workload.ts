import type { Acceleration, RedirectPolicy } from '../policy/policy.ts';

/** Names a pod for people and for logs. */
export interface PodName {
  namespace: string;
  name: string;
  /** metadata.uid; where a manifest has none, `namespace/name`. */
  uid: string;
}

/** A pod's network namespace as found on this node. */
export interface NetnsRef {
  /** A path that opens it: /run/netns/x or /proc/PID/ns/net. */
  path: string;
  /** Inode of the namespace. */
  inode: bigint;
  /** Unique on this boot, the pod's key in the kernel. The inode where nobody tells it (< 5.14 without eBPF). */
  cookie: bigint;
  /** Every address of its interfaces, canonical text, loopback included. */
  addresses: string[];
}

/** A container's cgroup v2 directory. */
export interface CgroupRef {
  path: string;
  /** Inode of the directory, which is the id bpf_get_current_cgroup_id() gives. */
  id: bigint;
}

/** An enrolled pod: where it lives, and what is to be true of it. */
export interface Workload extends PodName {
  /** The address redirected IPv4 connections go to; null when the pod has none. */
  ip4: string | null;
  ip6: string | null;
  netns: NetnsRef;
  /** The sidecar container's cgroup; null = told by uid and gid alone. */
  sidecarCgroup: CgroupRef | null;
  policy: RedirectPolicy;
  acceleration: Acceleration;
}

/** What a source says of a pod: the manifest as far as Shunt reads it. */
export interface PodObject {
  metadata: {
    name: string;
    namespace: string;
    uid?: string | undefined;
    labels: Record<string, string>;
    annotations: Record<string, string>;
    /** Of a mirror pod: the uid that the kubelet gave the static pod, which its cgroups are named by. */
    staticUid?: string | undefined;
    /** It has been asked to go, and runs on until its grace period ends. */
    deleting?: boolean | undefined;
    /** A controller (ReplicaSet, DaemonSet, Job, ...) makes another when it is deleted. */
    controlled?: boolean | undefined;
  };
  spec: {
    hostNetwork: boolean;
    /** Where its resolv.conf comes from: `ClusterFirst` where nothing is said. */
    dnsPolicy?: string | undefined;
    /** spec.dnsConfig.nameservers, canonical text. */
    nameservers?: string[] | undefined;
    containers: ContainerSpec[];
    initContainers: ContainerSpec[];
  };
  status: {
    podIPs: string[];
    /** Pending, Running, Succeeded, Failed or Unknown; not said by manifests. */
    phase?: string | undefined;
    /** As the kubelet reported them last: init, main and ephemeral ones. */
    containers?: ContainerState[] | undefined;
  };
}

/** What meshes look at of the pod's namespace. */
export interface NamespaceMarks {
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

export interface ContainerState {
  name: string;
  /** The runtime's id, without its scheme; null before the container is made. */
  id: string | null;
  /** Of its last run that ended; null when none did. */
  exitCode: number | null;
  /** Whether it has ended for good with code 0, as init containers do. */
  completed: boolean;
}

export interface ContainerSpec {
  name: string;
  args: string[];
  env: Record<string, string>;
  /** `Always` on an init container makes it a native sidecar. */
  restartPolicy?: string | undefined;
  runAsUser?: number | undefined;
  runAsGroup?: number | undefined;
}
