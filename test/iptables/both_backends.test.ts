/** An agent with eBPF that gives single pods to iptables, judged by their connections. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { rulesOf } from '../../src/lab/iptables.ts';
import { FaultBed } from '../faults/bed.ts';

const ANNOTATED = /^( *)shunt\.dev\/netns:/m;

describe('an agent with both backends', () => {
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('b-both');
  });
  after(() => bed?.[Symbol.asyncDispose]());

  const annotate = (manifest: string, line: string): string =>
    manifest.replace(ANNOTATED, (found, indent: string) => `${indent}${line}\n${found}`);
  const rules = (name: string) => rulesOf(bed.lab.pod(name).netns);
  const backends = async () =>
    Object.fromEntries((await bed.client.pods()).map(({ name, backend }) => [name, backend]));

  let manifest = '';
  it('gives every pod eBPF where none has a wish', async () => {
    const status = await bed.start();
    assert.deepEqual(status.enrolledBy, { ebpf: 2, iptables: 0 });
    assert.equal(existsSync(join(bed.lab.folder, 'iptables')), false);
    manifest = bed.read('a.yaml');
  });

  it('moves a pod to iptables that asks for it, and no connection passes its sidecar meanwhile', async () => {
    const moved = bed.write('a.yaml', annotate(manifest, 'shunt.dev/backend: iptables'), ({ enrolledBy }) => {
      return enrolledBy.iptables === 1;
    });
    let settled = false;
    let connections = 0;
    const done = moved.finally(() => {
      settled = true;
    });
    while (!settled) {
      assert.ok(await bed.redirected());
      connections++;
    }
    const { pods } = await done;
    assert.ok(connections > 0);
    assert.deepEqual(
      pods.map(({ name, backend, backendReason }) => [name, backend, backendReason]),
      [
        ['pod-a', 'iptables', 'asked for with shunt.dev/backend'],
        ['pod-b', 'ebpf', "the node's backend"],
      ],
    );
    assert.match(await rules('a'), /SHUNT_OUTPUT/);
    assert.doesNotMatch(await rules('b'), /SHUNT_/);
    const told = bed.log().filter(({ event }) => event === 'pod-backend-changed');
    assert.deepEqual(
      told.map(({ pod, from, to }) => [pod, from, to]),
      [['default/pod-a', 'ebpf', 'iptables']],
    );
  });

  it('is told by `pod list` and `status`, also without the agent', async () => {
    assert.match((await bed.cli('pod', 'list')).stdout, /pod-a +enrolled +istio +iptables/);
    assert.match((await bed.cli('status')).stdout, /2 enrolled \(1 by eBPF, 1 by iptables\)/);
    await bed.stop('SIGKILL');
    assert.ok(await bed.redirected());
    assert.match((await bed.cli('status')).stdout, /2 enrolled \(1 by eBPF, 1 by iptables\)/);
    const listed = JSON.parse((await bed.cli('pod', 'list', '-o', 'json')).stdout) as { backend: string }[];
    assert.deepEqual(listed.map(({ backend }) => backend).sort(), ['ebpf', 'iptables']);
  });

  it('finds both again, as they were', async () => {
    const status = await bed.start();
    assert.equal(status.adopted.pods, 2);
    assert.deepEqual(status.drift.repaired, []);
    assert.deepEqual(await backends(), { 'pod-a': 'iptables', 'pod-b': 'ebpf' });
  });

  it('moves it back when the wish is taken away, and leaves no rule', async () => {
    await bed.write('a.yaml', manifest, ({ enrolledBy }) => enrolledBy.ebpf === 2);
    // Both are in force for a moment; a pass that was asked for ends after the one that moves the pod.
    await bed.client.reconcile();
    assert.doesNotMatch(await rules('a'), /SHUNT_/);
    assert.equal(existsSync(join(bed.lab.folder, 'iptables')), false);
    assert.ok(await bed.redirected());
  });

  it('gives a policy to iptables that eBPF cannot follow, and says why in one line', async () => {
    const text = annotate(manifest, "traffic.sidecar.istio.io/excludeInterfaces: 'eth9'");
    const { pods } = await bed.write('a.yaml', text, ({ enrolledBy }) => enrolledBy.iptables === 1);
    const reason = pods.find(({ name }) => name === 'pod-a')?.backendReason ?? '';
    assert.match(reason, /^eBPF cannot follow interfaces: /);
    assert.ok(await bed.redirected());
    await bed.client.reconcile();
    const told = bed.log().filter(({ event, reason: why }) => event === 'pod-backend' && why === reason);
    assert.equal(told.length, 1);
  });

  it('keeps a pod as it is where the backend it asks for does not run, and says so', async () => {
    await bed.stop();
    await bed.start('--backend', 'iptables');
    const { pods } = await bed.write('a.yaml', annotate(manifest, 'shunt.dev/backend: ebpf'), (status) => {
      return status.pods.failed === 1;
    });
    const a = pods.find(({ name }) => name === 'pod-a');
    assert.equal(a?.error?.code, 'SHUNT_E_BACKEND_UNAVAILABLE');
    assert.equal(a?.backend, 'iptables', 'what was enrolled stays');
    assert.match(await rules('a'), /SHUNT_OUTPUT/);
  });

  it('is cleaned up with one command, folder and all', async () => {
    assert.equal((await bed.cli('cleanup')).code, 0);
    for (const name of ['a', 'b']) assert.doesNotMatch(await rules(name), /SHUNT_/);
    assert.equal(existsSync(join(bed.lab.folder, 'iptables')), false);
    // Programs of others may be in this kernel; rules are looked for beside the socket.
    const verified = await bed.cli('cleanup', '--verify', '-o', 'json');
    assert.doesNotMatch(verified.stdout, /"kind": ?"rules"/);
  });
});
