import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import {
  type TestCgroup,
  type TestNetns,
  type TestProcess,
  testCgroup,
  testNetns,
  testProcess,
} from '../../test/fixtures/kernel.ts';
import { type ErrorCode, ShuntError } from '../errors.ts';
import { PodFinder } from './finder.ts';
import { netnsInode } from './netns.ts';
import type { ContainerState, PodObject } from './workload.ts';

const id = (digit: string) => digit.repeat(64);
const [SANDBOX, APP, PROXY, INIT, DEBUG] = [id('a'), id('b'), id('c'), id('d'), id('e')];
const uidOf = (n: number) =>
  `3c6f8a1e-7f0b-4a51-9d2e-${String(process.pid).padStart(8, '0')}${String(n).padStart(4, '0')}`;
const WAIT = 'console.log("up"); setInterval(() => {}, 1e6)';
const code = (expected: ErrorCode) => (error: unknown) =>
  error instanceof ShuntError && error.code === expected;

function state(name: string, containerId: string | null): ContainerState {
  return { name, id: containerId, exitCode: null, completed: false };
}

function pod(uid: string, podIPs: string[], containers: ContainerState[]): PodObject {
  return {
    metadata: { name: 'web', namespace: 'shop', uid, labels: {}, annotations: {} },
    spec: { hostNetwork: false, containers: [], initContainers: [] },
    status: { podIPs, containers },
  };
}

/** A tree of cgroups made as it is asked for, and the processes put into it; all gone at the end. */
class Node implements AsyncDisposable {
  readonly root: TestCgroup;
  readonly #stack = new AsyncDisposableStack();
  readonly #made = new Map<string, TestCgroup>();

  constructor(label: string) {
    this.root = this.#stack.use(testCgroup(label));
    this.#made.set('', this.root);
  }

  /** @param path below the root: `kubepods/burstable` */
  cgroup(path: string): TestCgroup {
    const known = this.#made.get(path);
    if (known !== undefined) return known;
    const at = path.lastIndexOf('/');
    const made = this.#stack.use(this.cgroup(path.slice(0, Math.max(0, at))).child(path.slice(at + 1)));
    this.#made.set(path, made);
    return made;
  }

  netns(label: string, addresses: string[]): TestNetns {
    return this.#stack.use(testNetns(label, addresses));
  }

  async process(path: string, netns?: TestNetns): Promise<TestProcess> {
    const cgroup = this.cgroup(path);
    return this.#stack.use(await testProcess(WAIT, netns === undefined ? { cgroup } : { cgroup, netns }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

const under = (uid: string) => uid.replaceAll('-', '_');
const DRIVERS: { what: string; podPath(uid: string): string; container(id: string): string }[] = [
  {
    what: 'containerd with cgroupfs',
    podPath: (uid) => `kubepods/burstable/pod${uid}`,
    container: (each) => each,
  },
  {
    what: 'containerd with systemd',
    podPath: (uid) => `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${under(uid)}.slice`,
    container: (each) => `cri-containerd-${each}.scope`,
  },
  {
    what: 'CRI-O with systemd',
    podPath: (uid) => `kubepods.slice/kubepods-pod${under(uid)}.slice`,
    container: (each) => `crio-${each}.scope`,
  },
  {
    what: 'Docker with systemd',
    podPath: (uid) => `kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${under(uid)}.slice`,
    container: (each) => `docker-${each}.scope`,
  },
  {
    what: 'kind',
    podPath: (uid) =>
      `kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${under(uid)}.slice`,
    container: (each) => `cri-containerd-${each}.scope`,
  },
];

for (const [index, { what, podPath, container }] of DRIVERS.entries()) {
  test(`${what}: network namespace and sidecar of the right pod of two`, async () => {
    await using node = new Node('find');
    const [uid, otherUid] = [uidOf(2 * index), uidOf(2 * index + 1)];
    const netns = node.netns('web', ['10.9.0.7/24']);
    const other = node.netns('other', ['10.9.0.8/24']);
    await node.process(`${podPath(uid)}/${container(SANDBOX)}`, netns);
    await node.process(`${podPath(uid)}/${container(PROXY)}`, netns);
    await node.process(`${podPath(otherUid)}/${container(APP)}`, other);
    // A monitor in the pod's cgroup is a process of the host, and so is not where the pod is.
    await node.process(`${podPath(uid)}/crio-conmon-${PROXY}.scope`);
    const finder = new PodFinder({ mounts: [node.root.path] });
    const place = finder.locate(
      pod(uid, ['10.9.0.7'], [state('app', null), state('istio-proxy', PROXY)]),
      'istio-proxy',
    );
    assert.equal(place.netns.inode, netnsInode(netns.path));
    assert.equal(place.ip4, '10.9.0.7');
    const directory = node.cgroup(`${podPath(uid)}/${container(PROXY)}`).path;
    assert.deepEqual(place.sidecarCgroup, { path: directory, id: statSync(directory, { bigint: true }).ino });
    const second = finder.locate(pod(otherUid, [], []), 'istio-proxy');
    assert.equal(second.netns.inode, netnsInode(other.path));
    assert.equal(second.ip4, '10.9.0.8');
    assert.equal(second.sidecarCgroup, null);
  });
}

test('where cgroup v2 has nothing of the pod, its processes tell of themselves', async () => {
  await using node = new Node('find');
  const uid = uidOf(50);
  const netns = node.netns('v1', ['10.9.0.7/24']);
  await node.process(`kubepods/pod${uid}/${PROXY}`, netns);
  const place = new PodFinder({ mounts: [] }).locate(
    pod(uid, ['10.9.0.7'], [state('istio-proxy', PROXY)]),
    'istio-proxy',
  );
  assert.equal(place.netns.inode, netnsInode(netns.path));
  assert.equal(place.sidecarCgroup, null, 'told by uid and gid alone');
});

test('a pod is found at any stage: sandbox, init container, debugger, and a sidecar that was restarted', async () => {
  await using node = new Node('find');
  const uid = uidOf(51);
  const path = `kubepods/burstable/pod${uid}`;
  const netns = node.netns('stages', ['10.9.0.7/24']);
  const finder = new PodFinder({ mounts: [node.root.path] });
  const locate = (...containers: ContainerState[]) => {
    finder.expire();
    return finder.locate(pod(uid, [], containers), 'istio-proxy');
  };
  assert.throws(() => locate(), code('SHUNT_E_POD_NOT_STARTED'));
  assert.ok(!finder.isRunning(pod(uid, [], [])));
  await node.process(`${path}/${SANDBOX}`, netns);
  const inode = netnsInode(netns.path);
  assert.equal(locate().netns.inode, inode, 'the sandbox alone, of which no status tells');
  assert.ok(finder.isRunning(pod(uid, [], [])));
  await node.process(`${path}/${INIT}`, netns);
  assert.equal(locate(state('istio-init', INIT)).netns.inode, inode);
  await node.process(`${path}/${DEBUG}`, netns);
  {
    await using sidecar = await testProcess(WAIT, { cgroup: node.cgroup(`${path}/${PROXY}`), netns });
    assert.ok(sidecar.pid > 0);
    const first = locate(state('debugger', DEBUG), state('istio-proxy', PROXY)).sidecarCgroup;
    assert.ok(first?.path.endsWith(PROXY));
  }
  await node.process(`${path}/${APP}`, netns);
  const restarted = locate(state('istio-proxy', APP)).sidecarCgroup;
  assert.ok(restarted?.path.endsWith(APP), 'the id of the new container');
  assert.equal(locate(state('istio-proxy', id('f'))).sidecarCgroup, null, 'one that is not there yet');
});

test('a container with a namespace of its own making does not hide that of the pod', async () => {
  await using node = new Node('find');
  const uid = uidOf(52);
  const path = `kubepods/pod${uid}`;
  const own = node.netns('inner', ['192.168.0.2/24']);
  const netns = node.netns('outer', ['10.9.0.7/24']);
  await node.process(`${path}/${APP}`, own);
  await node.process(`${path}/${PROXY}`, netns);
  const containers = [state('app', APP), state('istio-proxy', PROXY)];
  const finder = new PodFinder({ mounts: [node.root.path] });
  assert.equal(finder.locate(pod(uid, ['10.9.0.7'], containers), 'x').netns.inode, netnsInode(netns.path));
  assert.throws(
    () => finder.locate(pod(uid, ['10.9.0.99'], containers), 'x'),
    code('SHUNT_E_POD_IP_MISMATCH'),
  );
});

test('a pod whose only processes are in the namespace of the host is not found', async () => {
  await using node = new Node('find');
  const uid = uidOf(53);
  await node.process(`kubepods/pod${uid}/${APP}`);
  const finder = new PodFinder({ mounts: [node.root.path] });
  assert.throws(() => finder.locate(pod(uid, [], []), 'x'), code('SHUNT_E_POD_NOT_STARTED'));
});

test('two pods of one address, of which one is on its way out, are told apart; a mirror pod by its static uid', async () => {
  await using node = new Node('find');
  const [old, young, hash] = [uidOf(54), uidOf(55), `${String(process.pid).padStart(32, '0')}`];
  const before = node.netns('old', ['10.9.0.7/24']);
  const after = node.netns('young', ['10.9.0.7/24']);
  await node.process(`kubepods/pod${old}/${APP}`, before);
  await node.process(`kubepods/pod${young}/${APP}`, after);
  await node.process(`kubepods/pod${hash}/${APP}`, after);
  const finder = new PodFinder({ mounts: [node.root.path] });
  assert.equal(finder.locate(pod(old, ['10.9.0.7'], []), 'x').netns.inode, netnsInode(before.path));
  assert.equal(finder.locate(pod(young, ['10.9.0.7'], []), 'x').netns.inode, netnsInode(after.path));
  const mirror = pod(uidOf(56), ['10.9.0.7'], []);
  mirror.metadata.staticUid = hash;
  assert.equal(finder.locate(mirror, 'x').netns.inode, netnsInode(after.path));
});

for (const { what, podPath, container } of DRIVERS) {
  test(`${what}: a pod that comes beside others is found without another walk, one elsewhere by the next`, async () => {
    await using node = new Node('find');
    const [first, beside, elsewhere] = [uidOf(57), uidOf(58), uidOf(59)];
    const netns = node.netns('beside', ['10.9.0.7/24']);
    await node.process(`${podPath(first)}/${container(APP)}`, netns);
    const finder = new PodFinder({ mounts: [node.root.path] });
    const at = (uid: string) => finder.locate(pod(uid, ['10.9.0.7'], []), 'x').netns.inode;
    // The one walk of this pass.
    assert.equal(at(first), netnsInode(netns.path));
    await node.process(`${podPath(beside)}/${container(APP)}`, netns);
    await node.process(`other/${podPath(elsewhere)}/${container(APP)}`, netns);
    assert.equal(at(beside), netnsInode(netns.path));
    assert.deepEqual(finder.directories(pod(beside, [], [])), [node.cgroup(podPath(beside)).path]);
    assert.deepEqual(finder.directories(pod(elsewhere, [], [])), []);
    finder.expire();
    assert.equal(at(elsewhere), netnsInode(netns.path));
  });
}
