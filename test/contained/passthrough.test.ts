/** ::6 on a pod's lo: there with the pod's enrolment and gone with it, and left alone where an init container put it. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { removePin } from '../../src/datapath/ebpf/cleanup.ts';
import { builtObjects } from '../../src/datapath/ebpf/compile.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf/datapath.ts';
import { findPins } from '../../src/datapath/ebpf/pin_tree.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { hasIpv6 } from '../../src/lab/topology.ts';
import { resolveCgroup } from '../../src/pod/cgroup.ts';
import { resolveNetns } from '../../src/pod/netns.ts';
import { pathOfNetns } from '../../src/pod/netns_path.ts';
import { addPassthrough, removePassthrough } from '../../src/pod/passthrough_address.ts';
import type { Workload } from '../../src/pod/workload.ts';
import { MESHES, policyOf } from '../conformance/meshes.ts';
import { type TestBpffs, testBpffs } from '../fixtures/bpffs.ts';
import { type TestNetns, testCgroup, testNetns, testProcess } from '../fixtures/kernel.ts';

const IP6 = 'fd00:9::7';

describe('::6 on the lo of a pod under eBPF', { skip: !hasIpv6() }, () => {
  let stack: DisposableStack;
  let netns: TestNetns;
  let bpffs: TestBpffs;
  let datapath: EbpfDatapath;
  beforeEach(async () => {
    stack = new DisposableStack();
    const cgroup = stack.use(testCgroup('passthrough'));
    netns = stack.use(testNetns('passthrough', ['10.9.0.7/24', `${IP6}/64`]));
    bpffs = stack.use(testBpffs());
    datapath = stack.use(
      await EbpfDatapath.start({
        pins: new Pins(bpffs.path),
        objectDirectory: builtObjects(),
        cgroup: resolveCgroup(cgroup.path),
        acceleration: false,
      }),
    );
  });
  afterEach(() => stack.dispose());

  function workload(meshName: string, ip6: string | null = IP6): Workload {
    const mesh = MESHES.find(({ name }) => name === meshName);
    assert.ok(mesh);
    return {
      ...{ namespace: 'test', name: 'pod', uid: 'test/pod', ip4: '10.9.0.7', ip6, sidecarCgroup: null },
      netns: resolveNetns(netns.path),
      ...{ policy: policyOf(mesh), acceleration: 'off' },
    };
  }
  const isThere = () => resolveNetns(netns.path).addresses.includes('::6');

  it('is there once the pod is enrolled, can be bound to, and goes with it', async () => {
    const pod = workload('istio');
    await datapath.enroll(pod);
    assert.ok(isThere());
    const bind = `require('node:net').createServer().listen(7, '::6', () => console.log('bound'))`;
    await using _ = await testProcess(bind, { netns });
    await datapath.withdraw(pod.netns.cookie);
    assert.equal(isThere(), false);
  });

  it('is repaired as drift when somebody takes it away', async () => {
    await datapath.enroll(workload('istio'));
    assert.deepEqual(await datapath.drift(workload('istio')), []);
    netns.ip('-6', 'address', 'delete', '::6/128', 'dev', 'lo');
    assert.deepEqual(await datapath.drift(workload('istio')), ['::6 is not on its lo']);
    await datapath.enroll(workload('istio'));
    assert.ok(isThere());
  });

  it('is not put there for a mesh that does not use it, nor for a pod without IPv6', async () => {
    await datapath.enroll(workload('linkerd'));
    assert.equal(isThere(), false);
    await datapath.enroll(workload('istio', null));
    assert.equal(isThere(), false);
  });

  it("goes when the pod's policy no longer has it", async () => {
    await datapath.enroll(workload('istio'));
    await datapath.enroll(workload('linkerd'));
    assert.equal(isThere(), false);
  });

  it('stays where an init container put it', async () => {
    netns.ip('-6', 'address', 'add', '::6/128', 'dev', 'lo');
    const pod = workload('istio');
    await datapath.enroll(pod);
    await datapath.withdraw(pod.netns.cookie);
    assert.ok(isThere());
  });

  it('goes with the pins where no agent knows the pod', async () => {
    await datapath.enroll(workload('istio'));
    for (const pin of findPins(bpffs.path)) removePin(pin);
    assert.equal(isThere(), false);
  });

  it('is added once, and taken away by whoever looks for the mark', () => {
    assert.equal(addPassthrough(netns.path), true);
    assert.equal(addPassthrough(netns.path), false);
    removePassthrough(netns.path);
    removePassthrough(netns.path);
    assert.equal(isThere(), false);
  });

  it('is found by the inode of the network namespace', async () => {
    const { inode } = resolveNetns(netns.path);
    assert.equal(pathOfNetns(inode), netns.path);
    assert.equal(pathOfNetns(1n), null);
  });
});
