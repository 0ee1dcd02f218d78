import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { loadEverything } from '../test/loaded.ts';
import { listen, makeCgroup, makePinDirectory, openSocket } from '../test/place.ts';
import type { Codec } from './codec.ts';
import { openMapById, openPinnedMap } from './decoded_map.ts';
import { libbpf, possibleCpuCount } from './ffi.ts';
import { listLinks, listMaps, listPrograms } from './inspect.ts';
import { Link } from './link.ts';
import { MAP_TYPES, numberOf } from './uapi.ts';

const ADDR = '000102030405060708090a0b0c0d0e0f';

test('a pinned map is read with the names and types of its C source', async () => {
  using pins = makePinDirectory();
  using object = await loadEverything();
  const addr = { bytes: Uint8Array.from({ length: 16 }, (_, i) => i) };
  object.maps.cidrs.set({ prefixlen: 40, policy: 7, addr }, 'VERDICT_DROP').pin(`${pins.path}/cidrs`);
  using map = openPinnedMap(`${pins.path}/cidrs`);
  assert.equal(map.keyType, 'struct cidr_key');
  assert.equal(map.valueType, 'enum verdict');
  assert.equal(map.info.type, 'lpm_trie');
  const key = { prefixlen: 40, policy: 7, addr: { bytes: ADDR } };
  assert.deepEqual([...map.entries()], [[key, 'VERDICT_DROP']]);
  assert.equal(map.get(key), 'VERDICT_DROP');
  assert.equal(map.size(), 1);
  map.set({ ...key, policy: 8 }, 'VERDICT_PASS');
  assert.equal(map.size(), 2);
  assert.ok(map.delete(key));
});

test('a key is typed as JSON, as names with values, or as a bare number', async () => {
  using object = await loadEverything();
  using cidrs = openMapById(object.maps.cidrs.id);
  const key = { prefixlen: 40, policy: 7, addr: { bytes: ADDR } };
  assert.deepEqual(cidrs.parseKey(`{"prefixlen": 40, "policy": 7, "addr": {"bytes": "${ADDR}"}}`), key);
  assert.deepEqual(cidrs.parseKey(`prefixlen=40, policy=0x7, addr.bytes=${ADDR}`), key);
  assert.deepEqual(cidrs.parseKey(`prefixlen=40,policy=7,addr=${ADDR}`), key);
  assert.throws(() => cidrs.parseKey('{"prefixlen": 40,'), /is not JSON/);
  assert.throws(() => cidrs.parseKey('prefixlen=40,policy'), /'policy' is not name=value/);
  using pods = openMapById(object.maps.pods.id);
  assert.equal(pods.parseKey('18446744073709551615'), 2n ** 64n - 1n);
  assert.equal(pods.parseKey('0x10'), 16n);
  assert.throws(() => pods.parseKey('eth0'), /not a whole number/);
});

test('a type is shown and typed as its user wants it, if the size is right', async () => {
  using object = await loadEverything();
  const last = (size: number): Codec<unknown> => ({
    size,
    read: (view, offset) => `ends in ${view.getUint8(offset + 15)}`,
    write: (view, offset, value) => view.setUint8(offset + 15, Number(String(value).slice(8))),
  });
  using cidrs = openMapById(object.maps.cidrs.id, { types: { 'struct addr': last(16) } });
  const key = cidrs.parseKey('prefixlen=128,policy=7,addr=ends in 5');
  assert.deepEqual(key, { prefixlen: 128, policy: 7, addr: 'ends in 5' });
  cidrs.set(key, 'VERDICT_DROP');
  assert.deepEqual([...cidrs.entries()], [[key, 'VERDICT_DROP']]);
  using plain = openMapById(object.maps.cidrs.id, { types: { 'struct addr': last(20) } });
  const bytes = `${'00'.repeat(15)}05`;
  assert.deepEqual([...plain.keys()], [{ prefixlen: 128, policy: 7, addr: { bytes } }]);
});

test('a per-CPU map gives one value for each CPU', async () => {
  using object = await loadEverything();
  object.maps.tallies.setZero(4);
  using map = openMapById(object.maps.tallies.id);
  const zero = { packets: 0n, bytes: [0n, 0n] };
  assert.deepEqual([...map.entries()], [[4, Array.from({ length: possibleCpuCount() }, () => zero)]]);
});

test('a sockhash, for which the kernel keeps no types, gets them from the programs that use it', async () => {
  await using server = await listen();
  using socket = await openSocket(server.port);
  using object = await loadEverything();
  object.maps.socks.setFd({ cookie: 5n }, socket.fd);
  using map = openMapById(object.maps.socks.id);
  assert.equal(map.info.btfId, 0);
  assert.equal(map.keyType, 'struct flow_key');
  assert.equal(map.valueType, 'socket cookie');
  assert.deepEqual([...map.entries()], [[{ cookie: 5n }, object.maps.socks.get({ cookie: 5n })]]);
});

test('a map without BTF shows bytes in hex', () => {
  const fd = libbpf.bpf_map_create(numberOf(MAP_TYPES, 'hash'), 'plain', 3, 5, 4, null);
  assert.ok(fd > 0);
  using stack = new DisposableStack();
  stack.defer(() => closeSync(fd));
  const key = Uint8Array.of(1, 2, 3);
  assert.equal(libbpf.bpf_map_update_elem(fd, key, Uint8Array.of(9, 8, 7, 6, 255), 0), 0);
  const id =
    [...listMaps()].find(({ name, keySize }) => name === 'plain' && keySize === 3)?.id ?? assert.fail();
  using map = openMapById(id);
  assert.equal(map.keyType, 'bytes[3]');
  assert.deepEqual([...map.entries()], [['010203', '09080706ff']]);
  assert.equal(map.parseKey('0x01:02:03'), '010203');
  assert.equal(map.get('01 02 03'), '09080706ff');
  assert.equal(map.get('000000'), undefined);
});

test('what cannot be walked says so, and what to use instead', async () => {
  using object = await loadEverything();
  for (const [id, hint] of [
    [object.maps.events.id, /RingBuffer/],
    [object.maps.notes.id, /iter\/bpf_sk_storage_map/],
  ] as const) {
    using map = openMapById(id);
    assert.throws(() => map.entries(), { code: 'ENOTSUP', hint });
  }
});

test('maps, programs and links of the machine are listed', async () => {
  using cgroup = makeCgroup();
  using object = await loadEverything();
  using link = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
  const map = [...listMaps()].find(({ id }) => id === object.maps.pods.id);
  assert.deepEqual([map?.name, map?.type, map?.keySize, map?.valueSize], ['pods', 'hash', 8, 128]);
  const program = [...listPrograms()].find(({ id }) => id === object.programs.connect4.id);
  assert.equal(program?.tag, object.programs.connect4.tag);
  assert.equal(program?.type, 'cgroup_sock_addr');
  assert.ok(program?.mapIds.includes(object.maps.events.id));
  assert.ok((program?.verifiedInstructions ?? 0) > 0);
  const found = [...listLinks()].find(({ id }) => id === link.id);
  assert.deepEqual(found, link.info());
  assert.equal([...listMaps()].filter(({ id }) => id === 0).length, 0);
});

test('an id that is gone is reported as such', () => {
  assert.throws(() => openMapById(0x7fff_ffff), { code: 'ENOENT', op: 'open by id' });
});
