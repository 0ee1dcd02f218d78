import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { everything } from '../test/gen/everything.ts';
import { objectFile } from '../test/objects.ts';
import { connectFrom, listen, makeCgroup, makePinDirectory } from '../test/place.ts';
import { codec } from './codec.ts';
import { BpfError } from './errors.ts';
import { Link } from './link.ts';
import { BpfMap } from './map.ts';
import { defineObject, openObject } from './object.ts';

async function failureOf(load: () => unknown): Promise<BpfError> {
  try {
    await load();
  } catch (error) {
    if (error instanceof BpfError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

test('opening puts nothing into the kernel', () => {
  const held = (): number =>
    readdirSync('/proc/self/fd').filter((fd) => {
      const link = `/proc/self/fd/${fd}`;
      // Newer libbpf holds places for its maps with memfds, whose name has bpf in it as well.
      return existsSync(link) && readlinkSync(link).startsWith('anon_inode:bpf');
    }).length;
  const before = held();
  using open = everything.open({ file: objectFile('everything') });
  assert.equal(open.maps.pods.maxEntries, 1024);
  assert.equal(open.programs.connect4.attachType, 'cgroup_inet4_connect');
  assert.equal(open.programs.lookup.type, 'sk_lookup');
  assert.equal(held(), before);
});

test('sizes set before load are those of the loaded maps', async () => {
  using open = everything.open({ file: readFileSync(objectFile('everything')) });
  open.maps.pods.maxEntries = 77;
  open.programs.message.autoload = false;
  using object = await open.load();
  assert.equal(object.maps.pods.maxEntries, 77);
  assert.equal(object.maps.pods.info().maxEntries, 77);
  assert.equal(object.programs.connect4.info().name, 'connect4');
  assert.match(object.programs.connect4.tag, /^[0-9a-f]{16}$/);
  assert.deepEqual(Object.keys(object.maps).sort(), [
    'cidrs',
    'events',
    'many',
    'notes',
    'percpu_slots',
    'pods',
    'slots',
    'socks',
    'tallies',
  ]);
  assert.ok(!Object.keys(object.programs).includes('message'));
  assert.throws(() => object.programs.message, { code: 'ENOENT', hint: /autoload/ });
});

test('settings have the values of the C source until they are set, and reach the program', async () => {
  using cgroup = makeCgroup();
  await using server = await listen();
  using open = everything.open({ file: objectFile('everything') });
  assert.equal(open.rodata.netns_cookie, 7n);
  assert.equal(open.rodata.proxy_port, 15_001);
  assert.equal(open.rodata.fallback, 'VERDICT_PASS');
  open.rodata.proxy_port = 4143;
  assert.equal(open.rodata.proxy_port, 4143);
  using object = await open.load();
  object.maps.tallies.setZero(1);
  using _link = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
  assert.ok(await connectFrom(cgroup.path, server.port));
  assert.deepEqual(object.maps.tallies.sum(1), { packets: 1n, bytes: [0n, 4143n] });
});

test('a setting that does not fit its C type is refused at the assignment', () => {
  using open = everything.open({ file: objectFile('everything') });
  assert.throws(() => {
    open.rodata.proxy_port = 65_536;
  }, /BAD_VALUE: 65536 is not a u16/);
});

test('an object that was loaded or closed says so instead of crashing', async () => {
  using open = everything.open({ file: objectFile('everything') });
  using object = await open.load();
  assert.throws(() => open.maps.pods.maxEntries, { code: 'CLOSED' });
  assert.throws(() => {
    open.programs.connect4.autoload = false;
  }, /CLOSED/);
  assert.throws(() => {
    open.rodata.netns_cookie = 1n;
  }, /fixed once/);
  await assert.rejects(open.load(), { code: 'CLOSED' });
  object[Symbol.dispose]();
  assert.throws(() => object.maps.pods.get(1n), { code: 'CLOSED' });
});

test('what the verifier refuses is named, with its last word in the message and the whole log beside it', async () => {
  const error = await failureOf(() => openObject(objectFile('rejected')).load());
  assert.equal(error.code, 'EACCES');
  assert.equal(error.op, 'load');
  assert.equal(error.target, 'program careless');
  assert.match(
    error.message,
    /^load program careless: EACCES: R0 invalid mem access .* \(\d+ lines omitted\)$/,
  );
  assert.match(error.log?.full ?? '', /call bpf_map_lookup_elem/);
  assert.match(error.hint ?? '', /verifier/);
});

test('a map that cannot be made is named, and what libbpf printed is kept', async () => {
  using open = everything.open({ file: objectFile('everything') });
  open.maps.many.maxEntries = 0xffff_ffff;
  const error = await failureOf(() => open.load());
  assert.equal(error.target, 'map many');
  assert.match(error.message, /^load map many: E\w+: map 'many': failed to create/);
  assert.match(error.hint ?? '', /maxEntries/);
  assert.ok(error.messages.length > 0);
  assert.equal(error.log, undefined);
});

test('loads at the same time keep their verifier logs apart', async () => {
  const names = ['rejected', 'endless', 'everything', 'endless', 'rejected'];
  const outcomes = await Promise.all(
    names.map(async (name) => {
      using open = openObject(objectFile(name));
      try {
        using object = await open.load();
        return object.name;
      } catch (error) {
        if (!(error instanceof BpfError)) throw error;
        return `${error.target}: ${error.log?.verdict()}`;
      }
    }),
  );
  const refused = /^program careless: R0 invalid mem access/;
  assert.match(outcomes[0] ?? '', refused);
  assert.equal(outcomes[1], 'program uninitialized: R9 !read_ok');
  assert.equal(outcomes[2], 'everything');
  assert.equal(outcomes[3], outcomes[1]);
  assert.match(outcomes[4] ?? '', refused);
});

test('the event loop goes on while the verifier works', async () => {
  const order: string[] = [];
  using open = everything.open({ file: objectFile('everything') });
  const loading = open.load().then((object) => {
    order.push('loaded');
    object[Symbol.dispose]();
  });
  await new Promise((resolve) => setImmediate(resolve));
  order.push('tick');
  await loading;
  assert.deepEqual(order, ['tick', 'loaded']);
});

test('a second load goes on with the maps that the first pinned', async () => {
  using pins = makePinDirectory();
  const load = async () => {
    using open = everything.open({ file: objectFile('everything') });
    open.maps.pods.pinPath = `${pins.path}/maps/pods`;
    open.maps.slots.pinPath = `${pins.path}/maps/slots`;
    return await open.load();
  };
  using first = await load();
  first.maps.slots.set(3, 33n);
  using second = await load();
  assert.equal(second.maps.slots.get(3), 33n);
  assert.equal(second.maps.slots.id, first.maps.slots.id);
  assert.equal(second.maps.slots.pinPath, `${pins.path}/maps/slots`);
  assert.notEqual(second.maps.many.id, first.maps.many.id);
});

test('a pinned map of another shape is told apart, with both shapes', async () => {
  using pins = makePinDirectory();
  const path = `${pins.path}/pods`;
  using first = await everything.open({ file: objectFile('everything') }).load();
  first.maps.slots.pin(path);
  using open = everything.open({ file: objectFile('everything') });
  open.maps.pods.pinPath = path;
  const error = await failureOf(() => open.load());
  assert.equal(error.target, 'map pods');
  assert.deepEqual(error.mismatch, {
    path,
    expected: 'hash key 8 value 128 entries 1024 flags 0x0',
    found: 'array key 4 value 8 entries 16 flags 0x0',
  });
  assert.match(error.hint ?? '', /remove the pin/);
});

test('maps that ask for it are pinned by their names below the root that is given', async () => {
  using pins = makePinDirectory();
  const load = async () => {
    using open = openObject(objectFile('pinned'), { pinRoot: pins.path });
    assert.equal(open.maps.kept?.pinPath, `${pins.path}/kept`);
    return await open.load();
  };
  using first = await load();
  using second = await load();
  assert.equal(first.maps.kept?.id, second.maps.kept?.id);
});

test('another BTF may stand in for that of the kernel', async () => {
  const load = async (kernelBtf: string) => {
    using open = openObject(objectFile('iterate'), { kernelBtf });
    using object = await open.load();
    return Object.keys(object.programs);
  };
  assert.deepEqual(await load('/sys/kernel/btf/vmlinux'), ['walk']);
  const error = await failureOf(() => load('/nowhere/vmlinux'));
  assert.match(error.message, /^load object iterate: ENOENT: failed to perform CO-RE relocations/);
  assert.match(error.messages.join('\n'), /failed to parse target BTF/);
});

test('a map can be lent to another object', async () => {
  using first = await everything.open({ file: objectFile('everything') }).load();
  using open = everything.open({ file: objectFile('everything') });
  open.maps.slots.reuse(first.maps.slots);
  using second = await open.load();
  second.maps.slots.set(1, 11n);
  assert.equal(first.maps.slots.get(1), 11n);
});

test('a map outlives the object it came with when it is pinned', async () => {
  using pins = makePinDirectory();
  const path = `${pins.path}/slots`;
  {
    using object = await everything.open({ file: objectFile('everything') }).load();
    object.maps.slots.set(2, 22n).pin(path);
  }
  using slots = BpfMap.fromPin(path, { key: codec.u32, value: codec.u64 });
  assert.equal(slots.get(2), 22n);
});

test('generated code for another object file is refused before anything is loaded', () => {
  const file = objectFile('everything');
  const stale = (maps: Parameters<typeof defineObject>[0]['maps'], rodata = {}) =>
    defineObject({ name: 'stale', maps, programs: {}, rodata }).open({ file });
  assert.throws(
    () => stale({ missing: { type: 'hash' } }),
    /map missing: BAD_VALUE: the object file has no such map/,
  );
  assert.throws(() => stale({ pods: { type: 'lru_hash' } }), /it is a hash, generated code has lru_hash/);
  assert.throws(
    () => stale({ pods: { type: 'hash', value: codec.u64 } }),
    /8 and 128 bytes, in generated code 8 and 8/,
  );
  assert.throws(
    () => stale({}, { proxy_port: codec.u32 }),
    /rodata proxy_port: BAD_VALUE: 2 bytes, in generated code 4/,
  );
  assert.throws(() => stale({}, { gone: codec.u32 }), /no such const volatile/);
});

test('a file that is no object is refused with the way to make one', async () => {
  const missing = await failureOf(() => openObject('/nowhere/x.bpf.o'));
  assert.equal(missing.code, 'ENOENT');
  const text = await failureOf(() => openObject(new Uint8Array(Buffer.from('not an ELF file'))));
  assert.equal(text.code, 'LIBBPF_FORMAT');
  assert.match(text.hint ?? '', /clang/);
});
