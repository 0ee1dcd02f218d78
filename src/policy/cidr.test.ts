import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressFamily, formatAddress, formatIp6, parseAddress } from './address.ts';
import {
  type AddressPrefix,
  canonicalCidr,
  cidrContains,
  cidrPrefixes,
  isLoopbackCidr,
  parseCidr,
} from './cidr.ts';

function cidrOf(text: string) {
  const cidr = parseCidr(text);
  assert.ok(cidr, text);
  return cidr;
}

function addressOf(text: string) {
  const bytes = parseAddress(text);
  assert.ok(bytes, text);
  return bytes;
}

function prefixContains(prefix: AddressPrefix, address: Uint8Array): boolean {
  for (let bit = 0; bit < prefix.bits; bit++) {
    const mask = 0x80 >> (bit & 7);
    if (((prefix.bytes[bit >> 3] ?? 0) & mask) !== ((address[bit >> 3] ?? 0) & mask)) return false;
  }
  return true;
}

const CANONICAL: [text: string, canonical: string | null][] = [
  ['10.1.2.3/8', '10.0.0.0/8'],
  ['10.1.2.3/32', '10.1.2.3/32'],
  ['10.1.2.3/0', '0.0.0.0/0'],
  ['2001:DB8::1/32', '2001:db8::/32'],
  ['::/0', '::/0'],
  ['::1/128', '::1/128'],
  ['::ffff:10.0.0.1/104', '::ffff:a00:0/104'],
  ['10.0.0.0', null],
  ['10.0.0.0/', null],
  ['10.0.0.0/33', null],
  ['10.0.0.0/08', null],
  ['10.0.0.0/+8', null],
  ['10.0.0.0/8/8', null],
  ['10.0.0.0/٨', null],
  ['010.0.0.0/8', null],
  ['::/129', null],
  ['fe80::%eth0/64', null],
  [' 10.0.0.0/8', null],
  ['*', null],
  ['', null],
  ['10.0.0.0/255.0.0.0', null],
];
for (const [text, canonical] of CANONICAL) {
  test(`${JSON.stringify(text)} ${canonical === null ? 'is no CIDR' : `is written ${canonical}`}`, () => {
    assert.equal(canonicalCidr(text), canonical);
  });
}

const cidrText = fc.oneof(
  fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([address, bits]) => `${address}/${bits}`),
  fc
    .tuple(
      fc.constantFrom('::', '::ffff:0:0', '::ffff:1.2.3.4', '2001:db8::', '::1', 'ff00::'),
      fc.integer({ min: 0, max: 128 }),
    )
    .map(([address, bits]) => `${address}/${bits}`),
  fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })).map(([address, bits]) => `${address}/${bits}`),
);
const address = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.ipV4().map(addressOf),
  fc.constantFrom('::1', '::', '2001:db8::1', 'ff02::1', '1.2.3.4', '::fffe:1.2.3.4').map(addressOf),
);

test('canonical text is its own canonical text', () => {
  fc.assert(
    fc.property(cidrText, (text) => {
      const canonical = canonicalCidr(text);
      assert.ok(canonical !== null);
      assert.equal(canonicalCidr(canonical), canonical);
      assert.deepEqual(parseCidr(canonical), parseCidr(text));
    }),
  );
});

test('the trie entries hold exactly the addresses of the block, and IPv6 blocks hold no IPv4', () => {
  fc.assert(
    fc.property(cidrText, address, (text, candidate) => {
      const cidr = cidrOf(text);
      const inTrie = cidrPrefixes(cidr).some((prefix) => prefixContains(prefix, candidate));
      assert.equal(inTrie, cidrContains(cidr, candidate));
    }),
    { numRuns: 5000 },
  );
});

test('containment agrees with the platform within one family', () => {
  fc.assert(
    fc.property(cidrText, address, (text, candidate) => {
      const cidr = cidrOf(text);
      fc.pre(addressFamily(candidate) === cidr.family);
      const list = new BlockList();
      const [base = ''] = text.split('/');
      list.addSubnet(base, cidr.bits, cidr.family === 4 ? 'ipv4' : 'ipv6');
      const platform =
        cidr.family === 4
          ? list.check(formatAddress(candidate), 'ipv4')
          : list.check(formatIp6(candidate), 'ipv6');
      assert.equal(cidrContains(cidr, candidate), platform, `${text} ${formatAddress(candidate)}`);
    }),
    { numRuns: 2000 },
  );
});

test('::/0 leaves all of IPv4 out in 96 entries', () => {
  const prefixes = cidrPrefixes(cidrOf('::/0'));
  assert.equal(prefixes.length, 96);
  assert.ok(!prefixes.some((prefix) => prefixContains(prefix, addressOf('8.8.8.8'))));
  assert.ok(prefixes.some((prefix) => prefixContains(prefix, addressOf('2001:db8::1'))));
  assert.ok(prefixes.some((prefix) => prefixContains(prefix, addressOf('::fffe:8.8.8.8'))));
});

test('0.0.0.0/0 is one entry of 96 bits', () => {
  assert.deepEqual(cidrPrefixes(cidrOf('0.0.0.0/0')), [{ bytes: addressOf('0.0.0.0'), bits: 96 }]);
});

test('a block inside the mapped range makes no entry', () => {
  assert.deepEqual(cidrPrefixes(cidrOf('::ffff:10.0.0.0/104')), []);
});

for (const [text, loopback] of [
  ['127.0.0.0/8', true],
  ['127.0.0.1/32', true],
  ['::1/128', true],
  ['0.0.0.0/0', false],
  ['::/0', false],
  ['10.0.0.0/8', false],
] as const) {
  test(`${text} ${loopback ? 'is' : 'is not'} a loopback block`, () =>
    assert.equal(isLoopbackCidr(cidrOf(text)), loopback));
}
