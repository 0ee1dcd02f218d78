/** Bad manifests: each is refused by name and code, and what was enrolled before stays. */
import assert from 'node:assert/strict';
import { readdirSync, unlinkSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { BpfMap, codec } from 'libbpf-ts';
import type { PodReport } from '../../src/agent/api.ts';
import { PortKeyCodec } from '../../src/datapath/ebpf/gen/objects.ts';
import { FaultBed } from './bed.ts';

describe('an agent that is given bad manifests', () => {
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('manifests');
    const status = await bed.start();
    assert.equal(status.pods.enrolled, 2);
    assert.ok(await bed.redirected());
  });
  after(() => bed?.[Symbol.asyncDispose]());

  /** The two pods of the bed are enrolled and carry traffic. */
  async function bothStay(pods: PodReport[]): Promise<void> {
    const held = pods.filter((pod) => ['pod-a', 'pod-b'].includes(pod.name) && pod.held !== null);
    assert.equal(held.length, 2);
    assert.ok(await bed.redirected());
  }

  const rejected: [string, string, string][] = [
    ['text that is not YAML', 'kind: Pod\n  bad: [indent', 'SHUNT_E_MANIFEST_SYNTAX'],
    [
      'an object that is not a Pod',
      'apiVersion: v1\nkind: Service\nmetadata: {name: x}',
      'SHUNT_E_MANIFEST_NOT_POD',
    ],
    [
      'a Pod with a field of the wrong type',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: 7}',
      'SHUNT_E_MANIFEST_FIELD',
    ],
  ];
  for (const [what, text, code] of rejected) {
    it(`refuses ${what} with ${code} and keeps its pods`, async () => {
      const { status, pods } = await bed.write('x-bad.yaml', text, (seen) => seen.source.rejected.length > 0);
      const [error] = status.source.rejected;
      assert.equal(error?.code, code);
      assert.match(error?.file ?? '', /x-bad\.yaml$/);
      assert.ok(error?.fix);
      await bothStay(pods);
      await bed.remove('x-bad.yaml', (seen) => seen.source.rejected.length === 0);
    });
  }

  it('refuses the second manifest of one pod and keeps the first', async () => {
    const text = bed.read('a.yaml');
    const { status, pods } = await bed.write('z-again.yaml', text, (seen) => seen.source.rejected.length > 0);
    assert.equal(status.source.rejected[0]?.code, 'SHUNT_E_MANIFEST_DUPLICATE');
    await bothStay(pods);
    await bed.remove('z-again.yaml', (seen) => seen.source.rejected.length === 0);
  });

  const failing: [string, (text: string) => string, string][] = [
    [
      'a network namespace that does not exist',
      (text) => text.replace(/shunt\.dev\/netns: .*/, 'shunt.dev/netns: /run/netns/shunt-nowhere'),
      'SHUNT_E_NETNS_MISSING',
    ],
    [
      'a cgroup that does not exist',
      (text) => text.replace(/shunt\.dev\/cgroup: .*/, 'shunt.dev/cgroup: /sys/fs/cgroup/shunt-nowhere'),
      'SHUNT_E_CGROUP_MISSING',
    ],
    [
      "the host's own network namespace",
      (text) => text.replace(/shunt\.dev\/netns: .*/, 'shunt.dev/netns: /proc/self/ns/net'),
      'SHUNT_E_NETNS_HOST',
    ],
    [
      'a port list that the mesh rejects',
      (text) =>
        text.replace(
          /annotations:/,
          'annotations:\n    traffic.sidecar.istio.io/excludeOutboundPorts: "80,x"',
        ),
      'SHUNT_E_MESH_REJECTED',
    ],
  ];
  for (const [what, edit, code] of failing) {
    it(`reports ${what} as ${code} for an enrolled pod, which stays as it was`, async () => {
      const good = bed.read('a.yaml');
      assert.notEqual(edit(good), good);
      const { pods } = await bed.write(
        'a.yaml',
        edit(good),
        (_, seen) => stateOf(seen, 'pod-a') === 'failed',
      );
      assert.equal(pods.find((pod) => pod.name === 'pod-a')?.error?.code, code);
      await bothStay(pods);
      await bed.write('a.yaml', good, (_, seen) => stateOf(seen, 'pod-a') === 'enrolled');
    });

    it(`reports ${what} as ${code} for a new pod, and enrolls nothing of it`, async () => {
      const text = edit(bed.read('a.yaml'))
        .replace('name: pod-a', 'name: pod-new')
        .replace(/uid: .*/, 'uid: new');
      const { pods } = await bed.write('new.yaml', text, (_, seen) => stateOf(seen, 'pod-new') === 'failed');
      const pod = pods.find(({ name }) => name === 'pod-new');
      assert.equal(pod?.error?.code, code);
      assert.equal(pod?.held, null);
      await bothStay(pods);
      await bed.remove('new.yaml', (_, seen) => stateOf(seen, 'pod-new') === undefined);
    });
  }

  it('refuses a second pod in the network namespace of another', async () => {
    const text = bed
      .read('a.yaml')
      .replace('name: pod-a', 'name: pod-twin')
      .replace(/uid: .*/, 'uid: twin');
    const { pods } = await bed.write('twin.yaml', text, (_, seen) => stateOf(seen, 'pod-twin') === 'failed');
    assert.equal(pods.find(({ name }) => name === 'pod-twin')?.error?.code, 'SHUNT_E_NETNS_TAKEN');
    await bothStay(pods);
    await bed.remove('twin.yaml', (_, seen) => stateOf(seen, 'pod-twin') === undefined);
  });

  it('withdraws a pod whose manifest opts out, and takes it back', async () => {
    const good = bed.read('a.yaml');
    const out = good.replace(/annotations:/, 'annotations:\n    shunt.dev/redirect: disabled');
    await bed.write('a.yaml', out, (_, seen) => stateOf(seen, 'pod-a') === 'left');
    // The application's own connection reaches the outside host, not the sidecar's.
    const client = await bed.lab.pod('a').client();
    await using direct = await client.connect({ host: bed.lab.outside.address(4), port: 8080 });
    assert.equal((await direct.who()).peer, direct.local);
    await bed.write('a.yaml', good, (_, seen) => stateOf(seen, 'pod-a') === 'enrolled');
    assert.ok(await bed.redirected());
  });

  it("writes a policy's rules again when something else deleted them", async () => {
    using ports = BpfMap.fromPin(`${bed.bpffs}/shunt/maps/ports`, { key: PortKeyCodec, value: codec.u64 });
    const before = ports.size();
    assert.ok(before > 0);
    ports.clear();
    assert.match((await bed.client.reconcile()).repaired.join('\n'), /its policy is not whole/);
    assert.equal(ports.size(), before);
    assert.deepEqual((await bed.client.reconcile()).repaired, []);
  });

  it('repairs what was deleted behind its back, and says what', async () => {
    const [cookie] = readdirSync(`${bed.bpffs}/shunt/pods`);
    unlinkSync(`${bed.bpffs}/shunt/pods/${cookie}/inbound`);
    unlinkSync(`${bed.bpffs}/shunt/links/connect4`);
    const report = await bed.client.reconcile();
    assert.match(report.repaired.join('\n'), /inbound steering is not attached/);
    assert.match(report.repaired.join('\n'), /attached shunt_connect4 again/);
    assert.deepEqual((await bed.client.reconcile()).repaired, []);
    assert.ok(await bed.redirected());
  });
});

function stateOf(pods: PodReport[], name: string): string | undefined {
  return pods.find((pod) => pod.name === name)?.state;
}
