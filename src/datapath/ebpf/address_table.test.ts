import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { BpfMap, codec } from 'libbpf-ts';
import { type TestBpffs, testBpffs } from '../../../test/fixtures/bpffs.ts';
import { linkerd } from '../../../test/fixtures/policies.ts';
import type { Workload } from '../../pod/workload.ts';
import { formatAddress } from '../../policy/address.ts';
import { AddressTable } from './address_table.ts';
import { builtObjects } from './compile.ts';
import { type AddrKey, AddrKeyCodec } from './gen/objects.ts';
import { DEFAULT_SIZES, Objects } from './objects.ts';
import { Pins } from './pins.ts';
import { addr } from './pod_value.ts';

function workload(cookie: bigint, ip4: string, addresses: string[] = ['127.0.0.1', ip4]): Workload {
  const name = `pod-${cookie}`;
  const netns = { path: `/run/netns/${name}`, inode: cookie, cookie, addresses };
  const policy = linkerd();
  return {
    ...{ namespace: 'shop', name, uid: name, ip4, ip6: null, netns },
    ...{ sidecarCgroup: null, policy, acceleration: 'off' },
  };
}

describe('the table of addresses', () => {
  let bpffs: TestBpffs;
  let map: BpfMap<AddrKey, bigint>;
  let table: AddressTable;
  beforeEach(async () => {
    bpffs = testBpffs();
    const pins = new Pins(bpffs.path);
    pins.prepare();
    using _objects = await new Objects(builtObjects(), pins, DEFAULT_SIZES).loadNode();
    map = BpfMap.fromPin(pins.map('addrs'), { key: AddrKeyCodec, value: codec.u64 });
    table = new AddressTable(map);
  });
  afterEach(() => {
    map.close();
    bpffs[Symbol.dispose]();
  });

  const held = (): string[] =>
    [...map].map(([{ netns, addr: at }, owner]) => `${netns} ${formatAddress(at.bytes)} ${owner}`).sort();

  it('has what a pod has now, and nothing of it when it is released', () => {
    table.write(workload(7n, '10.9.0.7'));
    assert.deepEqual(held(), ['0 10.9.0.7 7', '7 10.9.0.7 7', '7 127.0.0.1 7']);
    table.write(workload(7n, '10.9.0.8'));
    assert.deepEqual(held(), ['0 10.9.0.8 7', '7 10.9.0.8 7', '7 127.0.0.1 7']);
    assert.ok(!table.lacks(workload(7n, '10.9.0.8')));
    table.release(7n);
    assert.deepEqual(held(), []);
  });

  it('leaves an address to the pod that has it since, when the earlier one is released or written', () => {
    table.write(workload(7n, '10.9.0.7'));
    table.write(workload(8n, '10.9.0.7'));
    table.release(7n);
    assert.deepEqual(held(), ['0 10.9.0.7 8', '8 10.9.0.7 8', '8 127.0.0.1 8']);
    table.write(workload(9n, '10.9.0.9'));
    table.write(workload(9n, '10.9.0.7'));
    table.write(workload(8n, '10.9.0.8'));
    assert.ok(held().includes('0 10.9.0.7 9'));
    assert.deepEqual(table.owners().sort(), [8n, 8n, 8n, 9n, 9n, 9n]);
  });

  it('goes on from what an earlier agent left', () => {
    map.set({ netns: 7n, addr: addr('10.9.0.1') }, 7n);
    map.set({ netns: 5n, addr: addr('10.9.0.5') }, 5n);
    table.write(workload(7n, '10.9.0.7'));
    assert.deepEqual(held(), ['0 10.9.0.7 7', '5 10.9.0.5 5', '7 10.9.0.7 7', '7 127.0.0.1 7']);
    table.release(5n);
    assert.deepEqual([...new Set(table.owners())], [7n]);
  });

  it('puts back what was taken out behind it, and removes what was put in once it has looked again', () => {
    table.write(workload(7n, '10.9.0.7'));
    map.delete({ netns: 7n, addr: addr('10.9.0.7') });
    assert.ok(table.lacks(workload(7n, '10.9.0.7')));
    map.set({ netns: 7n, addr: addr('10.9.0.99') }, 7n);
    table.owners();
    table.write(workload(7n, '10.9.0.7'));
    assert.deepEqual(held(), ['0 10.9.0.7 7', '7 10.9.0.7 7', '7 127.0.0.1 7']);
  });
});
