import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codec, decodeValue, encodeValue } from './codec.ts';
import { BpfError } from './errors.ts';

function refuses(write: () => unknown, said: RegExp): void {
  assert.throws(
    write,
    (error) => error instanceof BpfError && error.code === 'BAD_VALUE' && said.test(error.message),
  );
}

test('network order is in memory, host order in values', () => {
  assert.deepEqual([...encodeValue(codec.be16, 0x1f90)], [0x1f, 0x90]);
  assert.deepEqual([...encodeValue(codec.be32, 0x0a000001)], [10, 0, 0, 1]);
  assert.equal(decodeValue(codec.be32, Uint8Array.of(10, 0, 0, 1)), 0x0a000001);
  assert.equal(decodeValue(codec.be64, encodeValue(codec.be64, 2n ** 63n)), 2n ** 63n);
});

test('integers keep their extremes', () => {
  for (const [type, values] of [
    [codec.u8, [0, 255]],
    [codec.i8, [-128, 127]],
    [codec.u16, [0, 65_535]],
    [codec.i16, [-32_768, 32_767]],
    [codec.u32, [0, 0xffff_ffff]],
    [codec.i32, [-0x8000_0000, 0x7fff_ffff]],
  ] as const) {
    for (const value of values) assert.equal(decodeValue(type, encodeValue(type, value)), value);
    refuses(() => encodeValue(type, values[0] - 1), /is not a/);
    refuses(() => encodeValue(type, values[1] + 1), /is not a/);
    refuses(() => encodeValue(type, 0.5), /is not a/);
    refuses(() => encodeValue(type, Number.NaN), /is not a/);
  }
  for (const value of [0n, 2n ** 64n - 1n])
    assert.equal(decodeValue(codec.u64, encodeValue(codec.u64, value)), value);
  refuses(() => encodeValue(codec.u64, -1n), /is not a u64/);
  refuses(() => encodeValue(codec.u64, 2n ** 64n), /is not a u64/);
  refuses(() => encodeValue(codec.i64, 2n ** 63n), /is not a i64/);
});

test('a C string ends at the first NUL and leaves room for one', () => {
  const comm = codec.chars(8);
  assert.equal(decodeValue(comm, encodeValue(comm, 'nginx')), 'nginx');
  assert.equal(decodeValue(comm, Buffer.from('a\0junk\0\0')), 'a');
  assert.equal(decodeValue(comm, Buffer.from('12345678')), '12345678');
  assert.deepEqual([...encodeValue(comm, 'é')], [0xc3, 0xa9, 0, 0, 0, 0, 0, 0]);
  refuses(() => encodeValue(comm, '12345678'), /longer than the 7 bytes/);
  refuses(() => encodeValue(comm, 'a\0b'), /NUL/);
});

test('what is read is a copy: later writes to the memory do not change it', () => {
  const memory = Uint8Array.of(1, 2);
  const value = decodeValue(codec.bytes(2), memory);
  memory[0] = 9;
  assert.deepEqual([...value], [1, 2]);
  refuses(() => encodeValue(codec.bytes(2), Uint8Array.of(1)), /1 bytes where 2/);
});

test('a short array is filled with zero, a long one refused', () => {
  const ids = codec.array(codec.u16, 3);
  const memory = new Uint8Array(6).fill(0xff);
  ids.write(new DataView(memory.buffer), 0, [7]);
  assert.deepEqual(decodeValue(ids, memory), [7, 0, 0]);
  refuses(() => encodeValue(ids, [1, 2, 3, 4]), /4 elements where 3/);
});

test('an enum is the name of its member, and nothing else', () => {
  const verdict = codec.enumeration({ PASS: 1, ALIAS: 1, DROP: -1 }, codec.i32);
  assert.equal(decodeValue(verdict, encodeValue(verdict, 'DROP')), 'DROP');
  assert.equal(decodeValue(verdict, encodeValue(verdict, 'ALIAS')), 'PASS');
  refuses(() => decodeValue(verdict, new Uint8Array(4)), /0 is none of PASS, ALIAS, DROP/);
  const wide = codec.enumeration64({ HUGE: 2n ** 40n });
  assert.equal(decodeValue(wide, encodeValue(wide, 'HUGE')), 'HUGE');
});

test('bit-fields share a unit without touching each other', () => {
  const low = codec.bits(codec.u32, 0, 3);
  const high = codec.bits(codec.u32, 3, 29);
  const view = new DataView(new ArrayBuffer(4));
  high.write(view, 0, 2 ** 29 - 1);
  low.write(view, 0, 5);
  assert.equal(low.read(view, 0), 5);
  assert.equal(high.read(view, 0), 2 ** 29 - 1);
  high.write(view, 0, 0);
  assert.equal(view.getUint32(0, true), 5);
  refuses(() => low.write(view, 0, 8), /3-bit field/);
});

test('a struct written by hand clears its padding: the kernel compares keys byte for byte', () => {
  const key = codec.struct<{ kind: number; cookie: bigint }>(16, {
    kind: [0, codec.u8],
    cookie: [8, codec.u64],
  });
  const memory = new Uint8Array(16).fill(0xff);
  key.write(new DataView(memory.buffer), 0, { kind: 1, cookie: 2n });
  assert.deepEqual([...memory], [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(decodeValue(key, memory), { kind: 1, cookie: 2n });
  refuses(() => decodeValue(key, new Uint8Array(15)), /15 bytes where 16/);
});
