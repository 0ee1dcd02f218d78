import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Addr, type Pod, PodFlags } from '../test/gen/everything.ts';
import { loadEverything } from '../test/loaded.ts';
import { makePinDirectory } from '../test/place.ts';
import { codec } from './codec.ts';
import { BpfError } from './errors.ts';
import { possibleCpuCount } from './ffi.ts';
import { BpfMap, pinnedMapInfo } from './map.ts';
import { PerCpuMap } from './percpu_map.ts';

const addr = (last: number): Addr => {
  const bytes = new Uint8Array(16);
  bytes[15] = last & 0xff;
  return { bytes };
};

const pod: Pod = {
  ip: addr(9),
  ip4: 0x0a00_0009,
  port: 15_001,
  small: 255,
  negative: -128,
  flags: (PodFlags.POD_ENROLLED | PodFlags.POD_TOP) >>> 0,
  verdict: 'VERDICT_DROP',
  cookie: 2n ** 64n - 1n,
  comm: 'envoy',
  ids: [1, 2, 0xffff_ffff],
  ready: true,
  low: 7,
  high: 8191,
  number: 0x0102_0304,
  either: { wide: 5n },
  nested: { inner: 6 },
  path: [addr(1), addr(2)],
};

test('a value comes back from the kernel as it was written', async () => {
  using object = await loadEverything();
  const { pods } = object.maps;
  assert.equal(pods.get(1n), undefined);
  pods.set(1n, pod);
  // The members of unions are read in each way they can be.
  const raw = Uint8Array.of(4, 3, 2, 1);
  assert.deepEqual(pods.get(1n), { ...pod, raw, either: { wide: 5n, narrow: 0x0500_0000 } });
});

test('it behaves like a Map: set, has, get, delete, size, iteration', async () => {
  using object = await loadEverything();
  const { many } = object.maps;
  assert.equal(many.set(1n, addr(1)), many);
  many.set(2n, addr(2));
  assert.ok(many.has(1n));
  assert.ok(!many.has(3n));
  assert.equal(many.size(), 2);
  assert.deepEqual(new Map(many), new Map([...many]));
  assert.deepEqual([...many.keys()].sort(), [1n, 2n]);
  assert.deepEqual([...many.values()].map(({ bytes }) => bytes[15]).sort(), [1, 2]);
  assert.ok(many.delete(1n));
  assert.ok(!many.delete(1n));
  assert.equal(many.size(), 1);
});

test('flags of an update are kept', async () => {
  using object = await loadEverything();
  const { many } = object.maps;
  assert.throws(() => many.set(1n, addr(1), 'exist'), { code: 'ENOENT' });
  many.set(1n, addr(1), 'noexist');
  assert.throws(() => many.set(1n, addr(2), 'noexist'), { code: 'EEXIST' });
  many.set(1n, addr(3), 'exist');
  assert.equal(many.get(1n)?.bytes[15], 3);
});

test('a frozen map is read, and written by no system call', async () => {
  using object = await loadEverything();
  const { many } = object.maps;
  many.set(1n, addr(1));
  many.freeze();
  assert.equal(many.get(1n)?.bytes[15], 1);
  assert.throws(() => many.set(1n, addr(2)), { code: 'EPERM' });
  assert.throws(() => many.delete(1n), { code: 'EPERM' });
  assert.throws(
    () => many.freeze(),
    (error) => error instanceof BpfError && /^(EPERM|EBUSY)$/.test(error.code),
  );
});

test('a full map says how much it takes, and what to do', async () => {
  using object = await loadEverything();
  const { tallies } = object.maps;
  const fill = () => {
    for (let i = 0; i <= tallies.maxEntries; i++) tallies.setZero(i);
  };
  assert.throws(fill, (error) => {
    assert.ok(error instanceof BpfError);
    assert.equal(error.message, 'update map tallies: E2BIG: it takes 128 entries');
    assert.match(error.hint ?? '', /full/);
    return true;
  });
});

for (const batch of [undefined, 0, 7]) {
  const how = batch === undefined ? 'in batches' : batch === 0 ? 'key by key' : 'in small batches';
  test(`every entry of a large map is seen once, ${how}`, async () => {
    using object = await loadEverything();
    const { many } = object.maps;
    const total = 20_000;
    assert.equal(many.setMany(Array.from({ length: total }, (_, i) => [BigInt(i), addr(i)] as const)), total);
    const seen = new Set<bigint>();
    for (const [key, value] of many.entries(batch === undefined ? {} : { batch })) {
      assert.equal(value.bytes[15], Number(key & 0xffn));
      seen.add(key);
    }
    assert.equal(seen.size, total);
    assert.equal(many.size(), total);
  });
}

test('entries may be deleted while they are walked', async () => {
  using object = await loadEverything();
  for (const batch of [64, 0]) {
    const { many } = object.maps;
    many.setMany(Array.from({ length: 1000 }, (_, i) => [BigInt(i), addr(i)] as const));
    let seen = 0;
    for (const [key] of many.entries({ batch })) {
      many.delete(key);
      seen++;
    }
    assert.equal(seen, 1000);
    assert.equal(many.size(), 0);
  }
});

test('many keys are deleted at once, missing ones among them', async () => {
  using object = await loadEverything();
  const { many } = object.maps;
  many.setMany(Array.from({ length: 100 }, (_, i) => [BigInt(i * 2), addr(i)] as const));
  const keys = Array.from({ length: 10_000 }, (_, i) => BigInt(i));
  assert.equal(many.deleteMany(keys), 100);
  assert.equal(many.size(), 0);
});

test('a batch that does not fit tells how far it came', async () => {
  using object = await loadEverything();
  const { pods } = object.maps;
  const entries = Array.from({ length: pods.maxEntries + 10 }, (_, i) => [BigInt(i), pod] as const);
  assert.throws(() => pods.setMany(entries), /update map pods: E2BIG: after 1024 entries/);
  assert.equal(pods.size(), 1024);
});

test('a value is taken out and returned', async () => {
  using object = await loadEverything();
  const { many, slots } = object.maps;
  many.set(5n, addr(5));
  assert.equal(many.lookupAndDelete(5n)?.bytes[15], 5);
  assert.equal(many.lookupAndDelete(5n), undefined);
  assert.throws(() => slots.lookupAndDelete(1), { code: 'EINVAL' });
});

test('an array has all its elements from the start, and clearing zeroes them', async () => {
  using object = await loadEverything();
  const { slots } = object.maps;
  slots.set(2, 22n);
  assert.equal(slots.size(), 16);
  assert.deepEqual([...slots].slice(0, 3), [
    [0, 0n],
    [1, 0n],
    [2, 22n],
  ]);
  slots.clear();
  assert.equal(slots.get(2), 0n);
  assert.throws(() => slots.set(16, 1n), { code: 'E2BIG' });
});

test('clearing a hash removes every entry', async () => {
  using object = await loadEverything();
  object.maps.many.setMany(Array.from({ length: 500 }, (_, i) => [BigInt(i), addr(i)] as const));
  object.maps.many.clear();
  assert.equal(object.maps.many.size(), 0);
});

test('an LPM trie gives the longest prefix that covers the key', async () => {
  using object = await loadEverything();
  const { cidrs } = object.maps;
  const net = (...start: number[]): Addr => ({
    bytes: Uint8Array.from({ length: 16 }, (_, i) => start[i] ?? 0),
  });
  // Prefix lengths count the 32 bits of `policy` too.
  cidrs.set({ prefixlen: 32 + 8, policy: 1, addr: net(10) }, 'VERDICT_PASS');
  cidrs.set({ prefixlen: 32 + 16, policy: 1, addr: net(10, 1) }, 'VERDICT_DROP');
  const at = (...bytes: number[]) => cidrs.get({ prefixlen: 32 + 128, policy: 1, addr: net(...bytes) });
  assert.equal(at(10, 1, 2), 'VERDICT_DROP');
  assert.equal(at(10, 2), 'VERDICT_PASS');
  assert.equal(at(11), undefined);
  assert.equal([...cidrs].length, 2);
  assert.equal(cidrs.setMany([...cidrs]), 2);
  const invalid = [{ prefixlen: 32 + 129, policy: 1, addr: net() }, 'VERDICT_PASS'] as const;
  assert.throws(() => cidrs.setMany([invalid]), /EINVAL: after 0 entries/);
});

test('a per-CPU map has one value a CPU, and sums them member by member', async () => {
  using object = await loadEverything();
  const { tallies, percpu_slots: slots } = object.maps;
  assert.ok(tallies instanceof PerCpuMap);
  const cpus = possibleCpuCount();
  tallies.set(
    1,
    Array.from({ length: cpus }, (_, cpu) => ({ packets: BigInt(cpu + 1), bytes: [10n, 20n] })),
  );
  const sum = { packets: BigInt((cpus * (cpus + 1)) / 2), bytes: [BigInt(10 * cpus), BigInt(20 * cpus)] };
  assert.deepEqual(tallies.sum(1), sum);
  assert.deepEqual([...tallies.sums()], [[1, sum]]);
  assert.equal(tallies.sum(2), undefined);
  assert.equal(tallies.get(1)?.length, cpus);
  assert.throws(() => tallies.set(1, []), /0 values for \d+ possible CPUs/);
  // Values of four bytes stand eight apart.
  slots.set(
    0,
    Array.from({ length: cpus }, (_, cpu) => cpu + 1),
  );
  assert.deepEqual(
    slots.get(0),
    Array.from({ length: cpus }, (_, cpu) => cpu + 1),
  );
});

test('a pin is opened with the codecs of its map, and refused with others', async () => {
  using pins = makePinDirectory();
  using object = await loadEverything();
  const { slots, tallies } = object.maps;
  slots.set(0, 5n).pin(`${pins.path}/deep/er/slots`);
  tallies.setZero(3);
  tallies.pin(`${pins.path}/tallies`);
  using opened = BpfMap.fromPin(`${pins.path}/deep/er/slots`, { key: codec.u32, value: codec.u64 });
  assert.equal(opened.get(0), 5n);
  assert.equal(pinnedMapInfo(`${pins.path}/tallies`).type, 'percpu_hash');
  using counts = PerCpuMap.fromPin(`${pins.path}/tallies`, { key: codec.u32, value: codec.bytes(24) });
  assert.ok(counts.has(3));
  const wrong = { key: codec.u32, value: codec.u32 };
  assert.throws(
    () => BpfMap.fromPin(`${pins.path}/deep/er/slots`, wrong),
    /have 4 and 8 bytes, the codecs 4 and 4/,
  );
  assert.throws(() => BpfMap.fromPin(`${pins.path}/tallies`, wrong), { hint: 'open it as a PerCpuMap' });
  assert.throws(() => slots.pin(`${pins.path}/tallies`), { code: 'EEXIST' });
  const elsewhere = join(tmpdir(), 'libbpf-ts-no-bpffs');
  assert.throws(() => slots.pin(join(elsewhere, 'slots')), { code: 'ENOENT', hint: /bpffs/ });
  assert.throws(() => slots.pin(elsewhere), { code: 'EPERM', hint: /bpffs/ });
  assert.ok(!existsSync(elsewhere), 'a pin that fails leaves no directory');
  assert.throws(() => BpfMap.fromPin(`${pins.path}/nothing`, wrong), { code: 'ENOENT' });
  opened.unpin();
  assert.throws(() => pinnedMapInfo(`${pins.path}/deep/er/slots`), { code: 'ENOENT' });
});

test('a closed map refuses to be used: its descriptor may be another file by now', async () => {
  using object = await loadEverything();
  const { slots } = object.maps;
  slots.close();
  slots.close();
  assert.ok(slots.closed);
  assert.throws(() => slots.get(0), { code: 'CLOSED' });
});
