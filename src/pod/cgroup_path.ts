/**
 * What the path of a cgroup says of the pod and the container it belongs to. Pure: the shapes are those that kubelets
 * and container runtimes make, which cgroup_path.test.ts lists.
 */

export interface PodCgroupPath {
  /** The pod's uid as the kubelet knows it; of a static pod 32 hex digits. */
  uid: string;
  /** Id of the container; null for the pod's own cgroup, and for helpers of the runtime in it. */
  container: string | null;
  /** The path up to and including the segment that names the pod. */
  podPath: string;
}

/**
 * cgroupfs: `pod<uid>` below `kubepods`. systemd: `[kubelet-]kubepods[-burstable|-besteffort]-pod<uid>.slice`, where
 * a dash stands for a level of slices and so those of the uid are written as underscores.
 */
const POD =
  /^(?:(?:[^/]*-)?kubepods(?:-burstable|-besteffort)?-)?pod([0-9a-zA-Z][0-9a-zA-Z_-]*)(?:\.slice)?$/;
const KUBEPODS = /(?:^|-)kubepods(?:\.slice)?$/;
/** `cri-containerd-<id>.scope`, `crio-<id>.scope`, `docker-<id>.scope`; under cgroupfs the id alone, CRI-O's with its prefix. */
const CONTAINER = /^(?:(?:cri-containerd|crio|docker|libpod)-)?([0-9a-f]{12,64})(?:\.scope)?$/;
/** CRI-O's monitor of a container: a process of the host. */
const MONITOR = /^crio-conmon-/;

/**
 * @param path of /proc/PID/cgroup or of the file system; where a cgroup namespace lies between, with `/..` before it
 * @returns null when it is no pod's
 */
export function readCgroupPath(path: string): PodCgroupPath | null {
  // A containerd told to use cgroupfs by a kubelet that uses systemd makes one segment of three.
  const segments = path.split(/([/:])/);
  let below = false;
  for (let at = 0; at < segments.length; at += 2) {
    const segment = segments[at] ?? '';
    const [, uid] = POD.exec(segment) ?? [];
    // The first: what runs inside a pod's containers, a kubelet perhaps, belongs to that pod.
    if (uid !== undefined && (below || segment.includes('kubepods'))) {
      const rest = segments.slice(at + 1).join('');
      return {
        uid: uid.replaceAll('_', '-'),
        container: containerOf(rest),
        podPath: segments.slice(0, at + 1).join(''),
      };
    }
    if (KUBEPODS.test(segment)) below = true;
  }
  return null;
}

function containerOf(rest: string): string | null {
  // `/<container>/...`, or `:cri-containerd:<id>`
  const [, first = '', second = ''] = rest.split(/[/:]/);
  if (MONITOR.test(first)) return null;
  const word = rest.startsWith(':') ? second : first;
  return CONTAINER.exec(word)?.[1] ?? null;
}

/**
 * The pod that a process belongs to.
 *
 * @param text of /proc/PID/cgroup (cgroups(7)): one line for each v1 hierarchy, and `0::` for v2
 * @returns the line of v2 where that names a container, else the first of v1 that does; null when none names a pod
 */
export function readProcessCgroup(text: string): PodCgroupPath | null {
  const paths = text
    .split('\n')
    .map((line) => /^(\d+):[^:]*:(\/.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, hierarchy = '', path = '']) => ({ v2: hierarchy === '0', pod: readCgroupPath(path) }))
    .sort((a, b) => Number(b.v2) - Number(a.v2))
    .flatMap(({ pod }) => pod ?? []);
  return paths.find(({ container }) => container !== null) ?? paths[0] ?? null;
}
