/** Random policies within what bpf/policy.h decides on, random packets near their values, and both as the driver reads them. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseAddress } from '../../src/policy/address.ts';
import { canonicalCidr, cidrPrefixes, parseCidr } from '../../src/policy/cidr.ts';
import { basePolicy, type PortRange, type RedirectPolicy } from '../../src/policy/policy.ts';
import type { Packet } from './interpreter.ts';

/** Flags and lists of bpf/layout.h. */
const FLAG = { outAll: 1, inAll: 2, loopbackIncluded: 4, passthrough: 8, selfCallInbound: 16 };
const LIST = { outExclude: 1, outInclude: 2, inExclude: 3, inInclude: 4 };
const VERDICTS = ['pass', 'outbound', 'inbound'] as const;

/** What the pod's namespace has. */
export const OWN = { 4: '10.0.0.5', 6: 'fd00::5' } as const;
const PORTS = [1, 22, 80, 443, 8080, 15001, 15006, 15008, 15021, 65535];
const IDS = [0, 1000, 1337, 1338, 2102];
const ADDRESSES = {
  4: [
    '10.0.0.5',
    '10.0.0.6',
    '10.1.2.3',
    '127.0.0.1',
    '127.0.0.6',
    '127.0.0.9',
    '169.254.169.254',
    '192.0.2.1',
  ],
  6: ['fd00::5', 'fd00::6', '::1', '::6', '2001:db8::1', '2001:db8:1::1'],
} as const;
const BLOCKS = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.0.0.4/31',
  '127.0.0.0/8',
  '127.0.0.9/32',
  '169.254.169.254/32',
];
const BLOCKS6 = ['::/0', 'fd00::/8', 'fd00::5/128', '::/64', '2001:db8::/48', '::1/128'];

const port = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...PORTS) },
  fc.integer({ min: 1, max: 65535 }),
);
const range = fc
  .tuple(port, fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 4000 })))
  .map(([first, more]): PortRange => ({ first, last: Math.min(65535, first + more) }));
const ranges = fc.array(range, { maxLength: 40 });
const randomBlock = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([ip, bits]) => `${ip}/${bits}`);
const block = fc
  .oneof({ weight: 3, arbitrary: fc.constantFrom(...BLOCKS, ...BLOCKS6) }, randomBlock)
  .map((text) => canonicalCidr(text) ?? text);
const blockList = fc.array(block, { maxLength: 6 });
const orAll = <T>(list: fc.Arbitrary<T>) => fc.oneof(fc.constant('*' as const), list);
/** One of each: with two uids Istio's rules let the second's self-calls pass, which bpf/policy.h does not copy. */
const id = fc.array(fc.constantFrom(...IDS.slice(2)), { maxLength: 1 });

export const policyArbitrary: fc.Arbitrary<RedirectPolicy> = fc
  .record({
    uids: id,
    gids: id,
    tunnel: fc.constantFrom(15008, 8080, null),
    application: fc.constantFrom('bypass-local', 'bypass-localhost', 'capture'),
    sidecar: fc.constantFrom('inbound', 'bypass'),
    passthroughSource: fc.boolean(),
    excludePorts: ranges,
    protocols: fc.constantFrom('tcp', 'both'),
    includePorts: ranges,
    excludeCidrs: blockList,
    includeCidrs: orAll(blockList),
    inPorts: orAll(ranges),
    inExclude: ranges,
  })
  .filter(({ uids, gids }) => uids.length + gids.length > 0)
  .map((parts) => {
    const policy = basePolicy(
      'istio',
      { proxyUids: parts.uids, proxyGids: parts.gids },
      { outbound: 15001, inbound: 15006, tunnel: parts.tunnel },
    );
    policy.loopback = {
      ...policy.loopback,
      application: parts.application as RedirectPolicy['loopback']['application'],
      sidecar: parts.sidecar as RedirectPolicy['loopback']['sidecar'],
      passthroughSource: parts.passthroughSource,
    };
    policy.outbound = {
      enabled: true,
      excludePorts: parts.excludePorts,
      excludePortProtocols: parts.protocols as 'tcp' | 'both',
      includePorts: parts.includePorts,
      excludeCidrs: parts.excludeCidrs,
      includeCidrs: parts.includeCidrs,
    };
    policy.inbound = { ...policy.inbound, includePorts: parts.inPorts, excludePorts: parts.inExclude };
    return policy;
  });

export type Case = Packet & { family: 4 | 6 };

const family = fc.constantFrom(4 as const, 6 as const);
const outboundCase = family.chain((family) =>
  fc
    .record({
      dst: fc.constantFrom<string>(...ADDRESSES[family]),
      src: fc.constantFrom<string>(
        OWN[family],
        family === 4 ? '127.0.0.1' : '::1',
        family === 4 ? '127.0.0.6' : '::6',
      ),
      dport: port,
      uid: fc.constantFrom(...IDS),
      gid: fc.constantFrom(...IDS),
    })
    .map((parts): Case => {
      const iface = isLocal(parts.dst) ? 'lo' : 'eth0';
      return { family, hook: 'OUTPUT', proto: 'tcp', sport: 40000, iface, ...parts };
    }),
);
const inboundCase = family.chain((family) =>
  fc
    .record({
      src: fc.constantFrom<string>(...ADDRESSES[family]).filter((text) => !isLocal(text)),
      dport: port,
    })
    .map(
      (parts): Case => ({
        family,
        hook: 'PREROUTING',
        proto: 'tcp',
        dst: OWN[family],
        sport: 40000,
        iface: 'eth0',
        ...parts,
      }),
    ),
);
export const caseArbitrary: fc.Arbitrary<Case> = fc.oneof(
  { weight: 3, arbitrary: outboundCase },
  inboundCase,
);

function isLocal(address: string): boolean {
  return address.startsWith('127.') || ['::1', '::6', OWN[4], OWN[6]].includes(address);
}

/** Builds the driver of bpf/policy.h into the folder. */
export function buildDecide(folder: string): string {
  const program = join(folder, 'decide');
  execFileSync('clang', [
    '-O1',
    '-Wall',
    '-Werror',
    '-o',
    program,
    join(import.meta.dirname, '../../native/decide/decide.c'),
  ]);
  return program;
}

/** What bpf/policy.h decides on each case. */
export function decide(program: string, policy: RedirectPolicy, cases: readonly Case[]): string[] {
  const head = driverHead(policy);
  const input = cases.map((packet) => `${driverLine(head, packet)}\n`).join('');
  const output = execFileSync(program, { input, encoding: 'utf8' }).trimEnd().split('\n');
  return output.map((line) => VERDICTS[Number(line.split(' ')[0])] ?? line);
}

function driverHead({ identity, ports, loopback, outbound, inbound }: RedirectPolicy): string {
  const flags =
    (outbound.includeCidrs === '*' ? FLAG.outAll : 0) |
    (inbound.includePorts === '*' ? FLAG.inAll : 0) |
    (loopback.application === 'bypass-local' ? 0 : FLAG.loopbackIncluded) |
    (loopback.passthroughSource ? FLAG.passthrough : 0) |
    (loopback.sidecar === 'inbound' ? FLAG.selfCallInbound : 0);
  const portList = [
    ...rangesOf(LIST.outExclude, outbound.excludePorts),
    ...rangesOf(LIST.outInclude, outbound.includePorts),
    ...rangesOf(LIST.inExclude, inbound.excludePorts),
    ...rangesOf(LIST.inInclude, inbound.includePorts === '*' ? [] : inbound.includePorts),
  ];
  const cidrList = [
    ...prefixesOf(LIST.outExclude, outbound.excludeCidrs),
    ...prefixesOf(LIST.outInclude, outbound.includeCidrs === '*' ? [] : outbound.includeCidrs),
  ];
  const lists = [identity.proxyUids, identity.proxyGids, portList, cidrList].map(
    (list) => list.join() || '-',
  );
  return [flags, ports.tunnel ?? 0, ...lists].join(' ');
}

function driverLine(head: string, packet: Case): string {
  const { hook, dst, src, dport, uid, gid } = packet;
  if (hook === 'PREROUTING') return `in ${head} ${dport} 0`;
  return `out ${head} ${uid} ${gid} 1 ${isLocal(dst) ? 1 : 0} ${dport} ${hex(dst)} ${hex(src)}`;
}

function rangesOf(list: number, ranges: readonly PortRange[]): string[] {
  return ranges.map(({ first, last }) => `${list}:${first}-${last}`);
}

function prefixesOf(list: number, texts: readonly string[]): string[] {
  return texts.flatMap((text) => {
    const cidr = parseCidr(text);
    if (cidr === null) throw new Error(`${text} is no CIDR`);
    return cidrPrefixes(cidr).map(
      ({ bytes, bits }) => `${list}:${Buffer.from(bytes).toString('hex')}/${bits}`,
    );
  });
}

function hex(text: string): string {
  return Buffer.from(parseAddress(text) ?? []).toString('hex');
}
