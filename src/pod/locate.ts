/** Where a pod of a manifest lives on this node. */
import { ShuntError } from '../errors.ts';
import type { Recognition } from '../mesh/profile.ts';
import { type AddressFamily, addressFamily, isGlobalAddress, parseAddress } from '../policy/address.ts';
import { containerCgroup, containerDirectories } from './cgroup.ts';
import { resolveNetns } from './netns.ts';
import type { CgroupRef, NetnsRef, PodName, PodObject, Workload } from './workload.ts';

/** Path of the pod's network namespace. */
export const NETNS_ANNOTATION = 'shunt.dev/netns';

export interface PodPlace {
  netns: NetnsRef;
  sidecarCgroup: CgroupRef | null;
  /** Canonical text; null when the pod has no address of the family. */
  ip4: string | null;
  ip6: string | null;
}

/**
 * Finds a pod by its annotations.
 *
 * The pod's addresses are those of status.podIPs. Without any, the first global address of each family in the
 * namespace, in the order of interfaces.
 *
 * @throws SHUNT_E_POD_NO_NETNS, SHUNT_E_POD_IP_MISMATCH, and as resolveNetns and containerCgroup
 */
export function locatePod(pod: PodObject, sidecarContainer: string): PodPlace {
  const path = pod.metadata.annotations[NETNS_ANNOTATION];
  if (path === undefined) {
    throw new ShuntError('SHUNT_E_POD_NO_NETNS', undefined, { target: podTarget(pod) });
  }
  return placeOf(pod, resolveNetns(path), containerCgroup(pod, sidecarContainer));
}

/**
 * The place with the pod's addresses, as locatePod chooses them.
 *
 * @throws SHUNT_E_POD_IP_MISMATCH
 */
export function placeOf(pod: PodObject, netns: NetnsRef, sidecarCgroup: CgroupRef | null): PodPlace {
  const { podIPs } = pod.status;
  const foreign = podIPs.find((ip) => !netns.addresses.includes(ip));
  if (foreign !== undefined) {
    throw new ShuntError('SHUNT_E_POD_IP_MISMATCH', `${foreign} is not an address of ${netns.path}`, {
      target: podTarget(pod),
    });
  }
  const candidates = podIPs.length > 0 ? podIPs : netns.addresses.filter(isGlobal);
  return {
    netns,
    sidecarCgroup,
    ip4: candidates.find((ip) => familyOf(ip) === 4) ?? null,
    ip6: candidates.find((ip) => familyOf(ip) === 6) ?? null,
  };
}

/** Says where a pod is, given the container whose cgroup is wanted: by its annotations, or as a PodFinder finds it. */
export type Locate = (pod: PodObject, sidecarContainer: string) => PodPlace;

export interface Locator {
  locate: Locate;
  /** Called before each pass over the pods: what was learnt of the node in the one before may be old. */
  expire(): void;
  /** Directories in which the cgroups of the pod's containers come and go, as far as they are known. */
  directories(pod: PodObject): string[];
}

/** For sources that say themselves where pods are. */
export const BY_ANNOTATION: Locator = {
  locate: locatePod,
  expire: () => {},
  directories: containerDirectories,
};

/** The pod as the datapath wants it. Throws as `locate` does. */
export function locateWorkload(
  pod: PodObject,
  recognition: Extract<Recognition, { kind: 'redirect' }>,
  locate: Locate = locatePod,
): Workload {
  return {
    ...podName(pod),
    ...locate(pod, recognition.sidecarContainer),
    policy: recognition.policy,
    acceleration: recognition.acceleration,
  };
}

export function podName(pod: PodObject): PodName {
  const { namespace, name, uid } = pod.metadata;
  return { namespace, name, uid: uid ?? `${namespace}/${name}` };
}

export function podTarget(pod: PodObject): string {
  return `pod ${pod.metadata.namespace}/${pod.metadata.name}`;
}

function familyOf(ip: string): AddressFamily | null {
  const bytes = parseAddress(ip);
  return bytes === null ? null : addressFamily(bytes);
}

function isGlobal(ip: string): boolean {
  const bytes = parseAddress(ip);
  return bytes !== null && isGlobalAddress(bytes);
}
