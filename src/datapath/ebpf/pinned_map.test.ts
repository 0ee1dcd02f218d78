import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type TestBpffs, testBpffs } from '../../../test/fixtures/bpffs.ts';
import { builtObjects } from './compile.ts';
import { PodFlags } from './gen/objects.ts';
import { type NodeObjects, Objects } from './objects.ts';
import { PinnedMap, summed } from './pinned_map.ts';
import { Pins } from './pins.ts';
import { addr } from './pod_value.ts';

const COOKIE = 18446744073709551615n;
const SIZES = { pods: 16, policies: 16, rules: 64, handshakes: 64, connections: 64 };

describe('a pinned map read by its BTF', () => {
  let bpffs: TestBpffs;
  let objects: NodeObjects;

  before(async () => {
    bpffs = testBpffs();
    const pins = new Pins(bpffs.path);
    pins.prepare();
    objects = await new Objects(builtObjects(), pins, SIZES).loadNode();
    const { shunt_pods, shunt_addrs, shunt_ports, shunt_counters } = objects.connect.maps;
    shunt_pods.set(COOKIE, {
      ip4: addr('10.0.0.1'),
      ip6: addr('fd00::1'),
      policy: 3,
      outbound_port: 15001,
      inbound_port: 15006,
      flags: PodFlags.POD_CGROUP_KNOWN | PodFlags.POD_HAS_IP4 | 0x4000_0000,
      sidecar_cgroup_level: 2,
      sidecar_cgroup: 9007199254740993n,
    });
    shunt_addrs.set({ netns: COOKIE, addr: addr('fd00::1') }, COOKIE);
    shunt_ports.set({ prefixlen: 80, policy: 3, list: 'RULE_OUT_EXCLUDE', port: 8080 }, 1n);
    shunt_counters.setZero(COOKIE);
  });
  after(() => {
    objects[Symbol.dispose]();
    bpffs[Symbol.dispose]();
  });

  const open = (name: string) => new PinnedMap(bpffs.path, name);

  it('shows addresses as text, flags by name with unknown bits, 64 bits whole, and no padding', () => {
    using map = open('pods');
    assert.deepEqual(
      [...map.entries()],
      [
        {
          key: COOKIE,
          value: {
            ip4: '10.0.0.1',
            ip6: 'fd00::1',
            policy: 3,
            outbound_port: 15001,
            inbound_port: 15006,
            flags: 'POD_CGROUP_KNOWN|POD_HAS_IP4|0x40000000',
            sidecar_cgroup_level: 2,
            sidecar_cgroup: 9007199254740993n,
          },
        },
      ],
    );
  });

  it('shows network-order ports as numbers and enumerators by name', () => {
    using map = open('ports');
    const [entry] = map.entries();
    assert.deepEqual(entry?.key, { prefixlen: 80, policy: 3, list: 'RULE_OUT_EXCLUDE', port: 8080 });
  });

  it('finds an entry by a number, JSON, name=value pairs, or the bytes of the key', () => {
    using pods = open('pods');
    assert.equal(pods.get('18446744073709551615')?.key, COOKIE);
    assert.equal(pods.get('0xffffffffffffffff')?.key, COOKIE);
    assert.equal(pods.get('5'), undefined);

    using addrs = open('addrs');
    const expected = { key: { netns: COOKIE, addr: 'fd00::1' }, value: COOKIE };
    for (const key of [
      '{"netns": 18446744073709551615, "addr": "fd00::1"}',
      '{"netns": "18446744073709551615", "addr": "fd00:0::1"}',
      'netns=18446744073709551615,addr=fd00::1',
      `0x${'ff'.repeat(8)}fd00${'00'.repeat(13)}01`,
    ]) {
      assert.deepEqual(addrs.get(key), expected, key);
    }
  });

  it('refuses what is no key of the map, and says why', () => {
    using pods = open('pods');
    using addrs = open('addrs');
    for (const key of ['pod-a', '1.5', '18446744073709551616', '-1', '{"netns": 1}', '']) {
      assert.throws(() => pods.get(key), { code: 'SHUNT_E_MAP_KEY' }, key);
    }
    for (const key of [
      '7',
      '{"netns": 1',
      '{"netns": 1, "addr": "10.0.0.300"}',
      'netns=1',
      '0xff',
      'netns=1,addr=::1,x=2',
    ]) {
      assert.throws(() => addrs.get(key), { code: 'SHUNT_E_MAP_KEY' }, key);
    }
  });

  it('gives each CPU its value, and their sum', () => {
    using map = open('counters');
    assert.equal(map.perCpu, true);
    const value = map.get(String(COOKIE))?.value;
    assert.ok(Array.isArray(value) && value.length > 0);
    const sum = summed(value);
    assert.ok(typeof sum === 'object' && sum !== null && 'values' in sum && Array.isArray(sum.values));
    assert.ok(sum.values.every((count) => count === 0n));
  });

  it('says of a map that cannot be walked that it cannot, instead of showing nothing', () => {
    for (const name of ['conns', 'events']) {
      using map = open(name);
      assert.equal(map.count(), null);
      assert.throws(() => [...map.entries()], { code: 'SHUNT_E_MAP_NOT_WALKABLE' });
    }
  });

  it('opens pins of this directory only, by either of their names', () => {
    using byKernelName = open('shunt_pods');
    assert.equal(byKernelName.name, 'pods');
    for (const name of ['nothing', '../links/connect4', '/sys/fs/bpf/x', '..', '']) {
      assert.throws(() => open(name), { code: 'SHUNT_E_MAP_UNKNOWN' }, name);
    }
  });

  it('says that nothing is pinned where nothing is', () => {
    using empty = testBpffs();
    assert.throws(() => new PinnedMap(empty.path, 'pods'), { code: 'SHUNT_E_PINS_MISSING' });
  });
});
