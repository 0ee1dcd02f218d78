import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  addressFamily,
  canonicalAddress,
  formatAddress,
  formatIp6,
  isGlobalAddress,
  parseAddress,
} from './address.ts';

const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });
/** Addresses with runs of zeros, which random bytes hardly ever have. */
const sparse16 = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0xff, 0x10), { minLength: 16, maxLength: 16 })
  .map((list) => Uint8Array.from(list));

const CANONICAL: [text: string, canonical: string][] = [
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['0001:0002:0003:0004:0005:0006:0007:0008', '1:2:3:4:5:6:7:8'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::ffff:a00:1', '10.0.0.1'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
];

for (const [text, canonical] of CANONICAL) {
  test(`${text} is written ${canonical}`, () => assert.equal(canonicalAddress(text), canonical));
}

const NOT_ADDRESSES = [
  '',
  ' ',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '01.2.3.4',
  '1.2.3.04',
  '1.2.3.4 ',
  ' 1.2.3.4',
  '+1.2.3.4',
  '0x1.2.3.4',
  '1.2.3.٤',
  '1.2.3.',
  '.1.2.3',
  '1..2.3',
  '1.2.3.4\n',
  '1.2.3.4/32',
  ':',
  ':::',
  '::1::',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  '12345::',
  'g::',
  'fe80::1%eth0',
  '::1 ',
  '[::1]',
  '::1.2.3',
  '::1.2.3.04',
  '1.2.3.4::',
  '1:2:3:4:5:6:7:1.2.3.4',
  ':1:2:3:4:5:6:7:8',
  '1:2:3:4:5:6:7:8:',
  '::٠',
  '1.2.3.4:80',
  `${'0:'.repeat(40)}1`,
];

for (const text of NOT_ADDRESSES) {
  test(`${JSON.stringify(text)} is no address`, () => assert.equal(parseAddress(text), null));
}

test('text made from any 16 bytes reads back as the same bytes', () => {
  fc.assert(
    fc.property(fc.oneof(bytes16, sparse16), (bytes) => {
      assert.deepEqual(parseAddress(formatAddress(bytes)), bytes);
      assert.deepEqual(parseAddress(formatIp6(bytes)), bytes);
    }),
  );
});

test('our text of IPv6 is what the platform calls the canonical host', () => {
  fc.assert(
    fc.property(fc.oneof(bytes16, sparse16), (bytes) => {
      assert.equal(`[${formatIp6(bytes)}]`, new URL(`http://[${formatIp6(bytes)}]/`).hostname);
    }),
  );
});

test('IPv4 and IPv4-mapped text give the same bytes', () => {
  fc.assert(
    fc.property(fc.ipV4(), (text) => {
      const bytes = parseAddress(text);
      assert.ok(bytes);
      assert.equal(addressFamily(bytes), 4);
      assert.deepEqual(parseAddress(`::ffff:${text}`), bytes);
      assert.equal(formatAddress(bytes), text);
    }),
  );
});

test('whatever is read is what the platform reads too', () => {
  const text = fc.oneof(fc.ipV6(), fc.ipV4(), fc.stringMatching(/^[0-9a-f:.]{1,20}$/), fc.string());
  fc.assert(
    fc.property(text, (candidate) => {
      const ours = parseAddress(candidate) !== null;
      const platform = isIPv4(candidate) || (isIPv6(candidate) && !candidate.includes('%'));
      assert.equal(ours, platform, candidate);
    }),
    { numRuns: 2000 },
  );
});

test('formatting refuses a wrong length', () =>
  assert.throws(() => formatAddress(new Uint8Array(4)), RangeError));

const GLOBAL: [text: string, global: boolean][] = [
  ['10.0.0.1', true],
  ['8.8.8.8', true],
  ['127.0.0.1', false],
  ['169.254.1.1', false],
  ['0.0.0.0', false],
  ['224.0.0.1', false],
  ['2001:db8::1', true],
  ['fd00::1', true],
  ['::1', false],
  ['::', false],
  ['fe80::1', false],
  ['ff02::1', false],
  ['::6', false],
];
for (const [text, global] of GLOBAL) {
  test(`${text} ${global ? 'can' : 'cannot'} be a pod's address`, () => {
    const bytes = parseAddress(text);
    assert.ok(bytes);
    assert.equal(isGlobalAddress(bytes), global);
  });
}
