import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadEverything } from '../test/loaded.ts';
import { objectFile } from '../test/objects.ts';
import { Btf } from './btf.ts';
import { BpfError } from './errors.ts';
import { parseElf } from './gen/elf.ts';
import { typeText } from './shape.ts';

function objectBtf(name: string): Btf {
  const section = parseElf(readFileSync(objectFile(name))).section('.BTF');
  assert.ok(section !== undefined);
  return Btf.parse(section);
}

const idOf = (btf: Btf, name: string): number =>
  btf.find(name, 'struct')?.id ?? assert.fail(`no struct ${name}`);

test('sizes and offsets are those that the compiler chose', () => {
  const btf = objectBtf('everything');
  const pod = btf.find('pod', 'struct') ?? assert.fail();
  assert.equal(btf.sizeOf(pod.id), 128);
  const member = (name: string) => pod.members.find((candidate) => candidate.name === name);
  assert.equal(member('comm')?.bitOffset, 40 * 8);
  assert.deepEqual([member('high')?.bitOffset, member('high')?.bitSize], [69 * 8 + 3, 13]);
  assert.deepEqual(btf.typedefs(member('port')?.type ?? 0), ['__be16', '__u16']);
  assert.equal(typeText(btf, btf.type(member('path')?.type ?? 0)), 'struct addr[2]');
});

test('a value is decoded to plain data and encoded back to the same bytes', () => {
  const btf = objectBtf('everything');
  const event = { time_ns: 2n ** 60n, kind: 'VERDICT_DROP', number: 7, comm: 'curl' };
  const bytes = btf.encode(idOf(btf, 'event'), event);
  assert.deepEqual(btf.decode(idOf(btf, 'event'), new DataView(bytes.buffer)), event);
});

test('flags are names joined, with bits that have none in hex', () => {
  const btf = objectBtf('everything');
  const id = btf.find('pod_flags', 'enum')?.id ?? assert.fail();
  const decode = (value: number) => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value, true);
    return btf.decode(id, view);
  };
  assert.equal(decode(0), '0');
  assert.equal(decode(0x8000_0005), 'POD_ENROLLED|POD_TOP|0x4');
  assert.deepEqual([...btf.encode(id, 'POD_TOP | POD_DRAINING')], [2, 0, 0, 0x80]);
  assert.deepEqual([...btf.encode(id, 6)], [6, 0, 0, 0]);
});

test('an enumerator that is not known is read as its number', () => {
  const btf = objectBtf('everything');
  const id = btf.find('verdict', 'enum')?.id ?? assert.fail();
  assert.equal(btf.decode(id, new DataView(Uint8Array.of(9, 0, 0, 0).buffer)), 9);
});

test('what does not fit a type is refused with the member that is wrong', () => {
  const btf = objectBtf('everything');
  const id = idOf(btf, 'cidr_key');
  const addr = '00'.repeat(16);
  const refused = (value: unknown, said: RegExp) => assert.throws(() => btf.encode(id, value), said);
  refused({ prefixlen: 1, policy: 1 }, /member addr is missing/);
  refused({ prefixlen: 1, policy: 1, addr, extra: 1 }, /no member extra/);
  refused({ prefixlen: -1, policy: 1, addr }, /-1 is not a u32/);
  refused({ prefixlen: 'x', policy: 1, addr }, /x is not a whole number/);
  refused({ prefixlen: 1, policy: 1, addr: '00' }, /1 bytes where 16/);
  refused({ prefixlen: 1, policy: 1, addr: 'zz' }, /not bytes in hex/);
  refused(5, /not an object with prefixlen, policy, addr/);
});

test("the kernel's own BTF of a loaded object is the same types", async () => {
  using object = await loadEverything();
  const { btfId, btfValueTypeId } = object.maps.pods.info();
  const btf = Btf.fromKernel(btfId);
  assert.equal(typeText(btf, btf.type(btfValueTypeId)), 'struct pod');
  assert.equal(btf.sizeOf(btfValueTypeId), 128);
});

test('types are read as bpftool reads them', () => {
  const text = execFileSync('bpftool', ['btf', 'dump', 'file', objectFile('everything')], {
    encoding: 'utf8',
  });
  const theirs = [...text.matchAll(/^\[(\d+)\] (\w+) '([^']*)'/gm)].map(([, id, kind, name]) => {
    return `${id} ${kind?.toLowerCase()} ${name === '(anon)' ? '' : name}`;
  });
  const ours = objectBtf('everything').types.slice(1);
  assert.deepEqual(
    ours.map(({ id, kind, name }) => `${id} ${kind} ${name}`),
    theirs,
  );
});

test('bytes that are no BTF, or half of it, are refused', () => {
  const whole = parseElf(readFileSync(objectFile('everything'))).section('.BTF') ?? assert.fail();
  const bad = (error: unknown) => error instanceof BpfError && error.code === 'BAD_VALUE';
  assert.throws(() => Btf.parse(new Uint8Array(0)), bad);
  assert.throws(() => Btf.parse(new Uint8Array(64)), bad);
  for (const length of [4, 23, 24, 100, whole.length >> 1, whole.length - 1]) {
    assert.throws(() => Btf.parse(whole.slice(0, length)), bad, `cut to ${length} bytes`);
  }
});

/** BTF of one type, put together by hand. */
function btfOf(strings: string[], words: number[]): Btf {
  const text = Buffer.from(`\0${strings.map((one) => `${one}\0`).join('')}`);
  const header = [0x0001_eb9f, 24, 0, words.length * 4, words.length * 4, text.length];
  return Btf.parse(Buffer.concat([new Uint8Array(new Uint32Array([...header, ...words]).buffer), text]));
}

test('an enum of 64 bits keeps its values', () => {
  const btf = btfOf(
    ['huge', 'HUGE_BIT', 'HUGE_ALL'],
    [1, (19 << 24) | 2, 8, 6, 0, 1 << 8, 15, 0xffff_ffff, 0xffff_ffff],
  );
  const bytes = btf.encode(1, 'HUGE_BIT');
  assert.deepEqual([...bytes], [0, 0, 0, 0, 0, 1, 0, 0]);
  assert.equal(btf.decode(1, new DataView(bytes.buffer)), 'HUGE_BIT');
  assert.equal(btf.decode(1, new DataView(new Uint8Array(8).fill(255).buffer)), 'HUGE_ALL');
});

test('an enum of 64 bits whose values the compiler cut is a number', () => {
  const btf = btfOf(['huge', 'HUGE_BIT'], [1, (6 << 24) | 1, 8, 6, 0]);
  assert.equal(btf.decode(1, new DataView(new Uint8Array(8).fill(255).buffer)), 2n ** 64n - 1n);
});
