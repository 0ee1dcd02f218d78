import assert from 'node:assert/strict';
import { rmdirSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { loadEverything } from '../test/loaded.ts';
import { objectFile } from '../test/objects.ts';
import { connectFrom, listen, makeCgroup, makeNetns, makePinDirectory } from '../test/place.ts';
import { codec } from './codec.ts';
import { attachedPrograms } from './inspect.ts';
import { Link } from './link.ts';
import { BpfMap } from './map.ts';
import { defineObject } from './object.ts';
import { Program } from './program.ts';

const iterate = defineObject({
  name: 'iterate',
  maps: { walked: { type: 'hash', key: codec.u32, value: codec.u64 } },
  programs: { walk: { section: 'iter/bpf_map_elem' } },
});

test('a program runs for a cgroup as long as its link is open', async () => {
  using cgroup = makeCgroup();
  await using server = await listen();
  using object = await loadEverything();
  const { slots } = object.maps;
  {
    using link = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
    assert.ok(await connectFrom(cgroup.path, server.port));
    assert.equal(slots.get(0), 1n);
    const info = link.info();
    assert.equal(info.type, 'cgroup');
    assert.equal(info.attachType, 'cgroup_inet4_connect');
    assert.equal(info.cgroupId, BigInt(statSync(cgroup.path).ino));
    assert.equal(info.programId, object.programs.connect4.id);
    assert.equal(info.attached, true);
  }
  assert.ok(await connectFrom(cgroup.path, server.port));
  assert.equal(slots.get(0), 1n);
});

test('the program of a link is replaced in place', async () => {
  using cgroup = makeCgroup();
  await using server = await listen();
  using object = await loadEverything();
  using link = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
  link.update(object.programs.connect4_refuse);
  assert.equal(link.info().programId, object.programs.connect4_refuse.id);
  assert.ok(!(await connectFrom(cgroup.path, server.port)));
  assert.equal(object.maps.slots.get(1), 1n);
  assert.throws(() => link.update(object.programs.lookup), { code: 'EINVAL', hint: /type and attach type/ });
});

test('a pinned link outlives its descriptor, and detach ends it though the pin stays', async () => {
  using pins = makePinDirectory();
  using cgroup = makeCgroup();
  await using server = await listen();
  using object = await loadEverything();
  const path = `${pins.path}/links/connect4`;
  Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path }).pin(path);
  using link = Link.fromPin(path);
  await connectFrom(cgroup.path, server.port);
  assert.equal(object.maps.slots.get(0), 1n);
  link.detach();
  await connectFrom(cgroup.path, server.port);
  assert.equal(object.maps.slots.get(0), 1n);
  assert.equal(Link.fromPin(path).info().attached, false);
  assert.throws(() => link.update(object.programs.connect4_refuse), { code: 'ENOLINK' });
  link.unpin();
  assert.throws(() => Link.fromPin(path), { code: 'ENOENT' });
});

test('a link says when its cgroup is gone', { timeout: 30_000 }, async () => {
  using cgroup = makeCgroup();
  using object = await loadEverything();
  using link = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
  assert.equal(link.info().attached, true);
  rmdirSync(cgroup.path);
  // The kernel lets go of the cgroup from a work queue.
  while (link.info().attached === true) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual({ attached: link.info().attached, id: link.info().cgroupId }, { attached: false, id: 0n });
});

test('several links share one hook', async () => {
  using cgroup = makeCgroup();
  await using server = await listen();
  using object = await loadEverything();
  using _one = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
  using _two = Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path });
  await connectFrom(cgroup.path, server.port);
  assert.equal(object.maps.slots.get(0), 2n);
});

test('a hook tells the programs attached to it, in their order', async () => {
  using cgroup = makeCgroup();
  await using netns = await makeNetns();
  using object = await loadEverything();
  const { connect4, connect4_refuse, lookup } = object.programs;
  assert.deepEqual(attachedPrograms(cgroup.path, 'cgroup_inet4_connect'), []);
  using _one = Link.attachCgroup(connect4, { cgroup: cgroup.path });
  using _two = Link.attachCgroup(connect4_refuse, { cgroup: cgroup.path });
  assert.deepEqual(attachedPrograms(cgroup.path, 'cgroup_inet4_connect'), [connect4.id, connect4_refuse.id]);
  using _three = Link.attachNetns(lookup, { netns: netns.path });
  assert.deepEqual(attachedPrograms(netns.path, 'sk_lookup'), [lookup.id]);
  assert.throws(() => attachedPrograms('/nowhere', 'sk_lookup'), { code: 'ENOENT' });
});

test('sockops and getsockopt programs attach to a cgroup by the type of their section', async () => {
  using cgroup = makeCgroup();
  await using server = await listen();
  using object = await loadEverything();
  using establish = Link.attachCgroup(object.programs.establish, { cgroup: cgroup.path });
  using getsockopt = Link.attachCgroup(object.programs.getsockopt, { cgroup: cgroup.path });
  assert.equal(establish.info().attachType, 'cgroup_sock_ops');
  assert.equal(getsockopt.info().attachType, 'cgroup_getsockopt');
  await connectFrom(cgroup.path, server.port);
  assert.equal(object.maps.slots.get(2), 1n);
});

test('an sk_lookup program attaches to a network namespace', async () => {
  await using netns = await makeNetns();
  using object = await loadEverything();
  using link = Link.attachNetns(object.programs.lookup, { netns: netns.path });
  const info = link.info();
  assert.equal(info.type, 'netns');
  assert.equal(info.netnsIno, statSync(netns.path).ino);
  assert.equal(info.attachType, 'sk_lookup');
});

test('attaching to the wrong thing fails with a reason', async () => {
  using object = await loadEverything();
  const { connect4, lookup } = object.programs;
  assert.throws(() => Link.attachCgroup(connect4, { cgroup: '/tmp' }), { code: 'EBADF', hint: /cgroup v2/ });
  assert.throws(() => Link.attachCgroup(connect4, { cgroup: '/nowhere' }), { code: 'ENOENT' });
  assert.throws(() => Link.attachNetns(lookup, { netns: '/dev/null' }), { code: 'EINVAL' });
});

test('a program opened from a pin has to be told its attach type', async () => {
  using pins = makePinDirectory();
  using cgroup = makeCgroup();
  using object = await loadEverything();
  object.programs.connect4.pin(`${pins.path}/program`);
  using unknown = Program.fromPin(`${pins.path}/program`);
  assert.throws(() => Link.attachCgroup(unknown, { cgroup: cgroup.path }), { code: 'BAD_VALUE' });
  using known = Program.fromPin(`${pins.path}/program`, 'cgroup_inet4_connect');
  using link = Link.attachCgroup(known, { cgroup: cgroup.path });
  assert.equal(link.info().programId, object.programs.connect4.id);
});

test('pins of one kind are not taken for another', async () => {
  using pins = makePinDirectory();
  using object = await loadEverything();
  const path = `${pins.path}/program`;
  object.programs.connect4.pin(path);
  assert.throws(() => BpfMap.fromPin(path, { key: codec.u32, value: codec.u32 }), /pins a prog/);
  assert.throws(() => Link.fromPin(path), { code: 'BAD_VALUE' });
});

test('an iterator writes a line for each entry of the map it is attached to', async () => {
  using open = iterate.open({ file: objectFile('iterate') });
  using object = await open.load();
  const { walked } = object.maps;
  walked.setMany(Array.from({ length: 4096 }, (_, i) => [i, BigInt(i) * 1_000_000_007n] as const));
  using link = Link.attachIter(object.programs.walk, { map: walked });
  assert.deepEqual(
    { target: link.info().iterTarget, map: link.info().mapId },
    { target: 'bpf_map_elem', map: walked.id },
  );
  const lines = (await link.readIter()).trim().split('\n').sort();
  const expected = Array.from({ length: 4096 }, (_, i) => `${i} ${BigInt(i) * 1_000_000_007n}`).sort();
  assert.deepEqual(lines, expected);
  walked.clear();
  assert.equal(link.readIterSync(), '');
});
