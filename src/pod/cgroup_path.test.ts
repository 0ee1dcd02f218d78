import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCgroupPath, readProcessCgroup } from './cgroup_path.ts';

const UID = '3c6f8a1e-7f0b-4a51-9d2e-5b1c0a9e8d77';
const UNDERSCORED = UID.replaceAll('-', '_');
const ID = '8f3a0c1d2e4b5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd';
const STATIC = '0f1e2d3c4b5a69788796a5b4c3d2e1f0';

const SHAPES: { what: string; path: string; uid?: string; container?: string | null }[] = [
  { what: 'cgroupfs, guaranteed', path: `/kubepods/pod${UID}/${ID}` },
  { what: 'cgroupfs, burstable', path: `/kubepods/burstable/pod${UID}/${ID}` },
  { what: 'cgroupfs, best effort', path: `/kubepods/besteffort/pod${UID}/${ID}` },
  {
    what: 'containerd, systemd, guaranteed',
    path: `/kubepods.slice/kubepods-pod${UNDERSCORED}.slice/cri-containerd-${ID}.scope`,
  },
  {
    what: 'containerd, systemd, burstable',
    path: `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UNDERSCORED}.slice/cri-containerd-${ID}.scope`,
  },
  {
    what: 'CRI-O, systemd',
    path: `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UNDERSCORED}.slice/crio-${ID}.scope`,
  },
  {
    what: 'CRI-O with crun, which makes a cgroup below its scope',
    path: `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UNDERSCORED}.slice/crio-${ID}.scope/container`,
  },
  { what: 'CRI-O, cgroupfs', path: `/kubepods/burstable/pod${UID}/crio-${ID}` },
  {
    what: "CRI-O's monitor, which is no container",
    path: `/kubepods.slice/kubepods-pod${UNDERSCORED}.slice/crio-conmon-${ID}.scope`,
    container: null,
  },
  { what: 'Docker, cgroupfs', path: `/kubepods/besteffort/pod${UID}/${ID}` },
  {
    what: 'Docker, systemd',
    path: `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UNDERSCORED}.slice/docker-${ID}.scope`,
  },
  {
    what: 'kind with systemd, seen from inside the node',
    path: `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${UNDERSCORED}.slice/cri-containerd-${ID}.scope`,
  },
  { what: 'kind with cgroupfs', path: `/kubelet/kubepods/burstable/pod${UID}/${ID}` },
  {
    what: 'kind, seen from the host of its node',
    path: `/system.slice/docker-${'9'.repeat(64)}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod${UNDERSCORED}.slice/cri-containerd-${ID}.scope`,
  },
  {
    what: 'kind with cgroup v1, seen from the host of its node',
    path: `/docker/${'9'.repeat(64)}/kubepods/burstable/pod${UID}/${ID}`,
  },
  {
    what: 'from within another cgroup namespace',
    path: `/../../kubepods-burstable-pod${UNDERSCORED}.slice/cri-containerd-${ID}.scope`,
  },
  {
    what: 'containerd with cgroupfs under a kubelet with systemd',
    path: `/system.slice/containerd.service/kubepods-burstable-pod${UNDERSCORED}.slice:cri-containerd:${ID}`,
  },
  { what: 'a static pod', path: `/kubepods/burstable/pod${STATIC}/${ID}`, uid: STATIC },
  {
    what: 'a static pod, systemd',
    path: `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${STATIC}.slice/crio-${ID}.scope`,
    uid: STATIC,
  },
  { what: "the pod's own cgroup", path: `/kubepods/burstable/pod${UID}`, container: null },
  { what: 'an init system inside a container', path: `/kubepods/pod${UID}/${ID}/init.scope` },
  {
    what: 'a node in a container of a pod: the pod outside',
    path: `/kubepods/pod${UID}/${ID}/docker/${'9'.repeat(64)}/kubelet/kubepods/pod${STATIC}/${'7'.repeat(64)}`,
  },
];

for (const { what, path, uid = UID, container = ID } of SHAPES) {
  test(`pod and container are read from a path: ${what}`, () => {
    const read = readCgroupPath(path);
    assert.deepEqual({ uid: read?.uid, container: read?.container }, { uid, container });
    assert.ok(path.startsWith(read?.podPath ?? '-'), read?.podPath);
  });
}

test('what is no pod is none', () => {
  for (const path of [
    '/',
    '/system.slice/containerd.service',
    '/kubepods.slice',
    '/kubepods/burstable',
    '/kubepods.slice/kubepods-burstable.slice',
    `/docker/${ID}`,
    `/machine.slice/libpod-${ID}.scope`,
    '/user.slice/podman',
    `/podruntime/pod${UID}`,
  ]) {
    assert.equal(readCgroupPath(path), null, path);
  }
});

test('of a process, the line of v2 counts where it names the container, else those of v1', () => {
  const v1 = `12:memory:/kubepods/burstable/pod${UID}/${ID}\n11:cpu,cpuacct:/kubepods/burstable/pod${UID}/${ID}`;
  const podPath = `/kubepods/burstable/pod${UID}`;
  const whole = { uid: UID, container: ID, podPath };
  assert.deepEqual(readProcessCgroup(`${v1}\n`), whole, 'v1 alone');
  assert.deepEqual(
    readProcessCgroup(`${v1}\n0::/system.slice/containerd.service\n`),
    whole,
    'hybrid, v2 not used',
  );
  const other = 'f'.repeat(64);
  assert.equal(readProcessCgroup(`${v1}\n0::${podPath}/${other}\n`)?.container, other, 'hybrid, both');
  assert.equal(readProcessCgroup(`0::${podPath}\n`)?.container, null, 'v2, the pod itself');
  assert.equal(readProcessCgroup('0::/\n'), null);
  assert.equal(readProcessCgroup(''), null);
});
