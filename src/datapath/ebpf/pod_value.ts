/** Workload to and from its entry in the pods map. */
import { realpathSync } from 'node:fs';
import { relative } from 'node:path';
import { cgroup2Mounts } from '../../pod/cgroup.ts';
import type { CgroupRef, Workload } from '../../pod/workload.ts';
import { formatAddress, parseAddress } from '../../policy/address.ts';
import type { Acceleration } from '../../policy/policy.ts';
import { type Addr, type Pod, PodFlags } from './gen/objects.ts';

const NO_ADDRESS: Addr = { bytes: new Uint8Array(16) };

/**
 * The map value that makes a workload's decisions.
 *
 * @param policy id in the policies map
 */
export function podValue(workload: Workload, policy: number): Pod {
  const { ip4, ip6, sidecarCgroup, acceleration } = workload;
  const level = sidecarCgroup === null ? 0 : cgroupLevel(sidecarCgroup);
  let flags = 0;
  if (ip4 !== null) flags |= PodFlags.POD_HAS_IP4;
  if (ip6 !== null) flags |= PodFlags.POD_HAS_IP6;
  // Level 0 would be the root, where every process is: then uid and gid decide alone.
  if (level > 0) flags |= PodFlags.POD_CGROUP_KNOWN;
  if (acceleration !== 'off') flags |= PodFlags.POD_ACCEL_OUTBOUND;
  if (acceleration === 'full') flags |= PodFlags.POD_ACCEL_FULL;
  if (acceleration !== 'off' && acceleration !== 'auto') flags |= PodFlags.POD_ACCEL_VOUCHED;
  return {
    ip4: ip4 === null ? NO_ADDRESS : addr(ip4),
    ip6: ip6 === null ? NO_ADDRESS : addr(ip6),
    policy,
    outbound_port: workload.policy.ports.outbound,
    inbound_port: workload.policy.ports.inbound,
    flags,
    sidecar_cgroup_level: level,
    sidecar_cgroup: sidecarCgroup?.id ?? 0n,
  };
}

/** @throws RangeError when the text is not an address, which a Workload's never is */
export function addr(text: string): Addr {
  const bytes = parseAddress(text);
  if (bytes === null) throw new RangeError(`not an address: ${text}`);
  return { bytes };
}

export function podAddresses(pod: Pod): { ip4: string | null; ip6: string | null } {
  return {
    ip4: pod.flags & PodFlags.POD_HAS_IP4 ? formatAddress(pod.ip4.bytes) : null,
    ip6: pod.flags & PodFlags.POD_HAS_IP6 ? formatAddress(pod.ip6.bytes) : null,
  };
}

export function podAcceleration(pod: Pod): Acceleration {
  if (!(pod.flags & PodFlags.POD_ACCEL_OUTBOUND)) return 'off';
  if (pod.flags & PodFlags.POD_ACCEL_FULL) return 'full';
  return pod.flags & PodFlags.POD_ACCEL_VOUCHED ? 'outbound' : 'auto';
}

export function samePod(a: Pod, b: Pod): boolean {
  return (
    Buffer.compare(a.ip4.bytes, b.ip4.bytes) === 0 &&
    Buffer.compare(a.ip6.bytes, b.ip6.bytes) === 0 &&
    a.policy === b.policy &&
    a.outbound_port === b.outbound_port &&
    a.inbound_port === b.inbound_port &&
    a.flags === b.flags &&
    a.sidecar_cgroup === b.sidecar_cgroup &&
    a.sidecar_cgroup_level === b.sidecar_cgroup_level
  );
}

/**
 * Depth below the root that is seen here, a child of which is at 1. In a cgroup namespace that is less than what
 * bpf_get_current_ancestor_cgroup_id() counts, so the programs look further down (bpf/pods.h).
 */
function cgroupLevel(cgroup: CgroupRef): number {
  const path = realpathSync(cgroup.path);
  const mount = cgroup2Mounts().find((candidate) => path.startsWith(`${candidate}/`));
  return mount === undefined ? 0 : relative(mount, path).split('/').length;
}
