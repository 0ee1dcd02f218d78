/** bpf/policy.h, built natively, against the truth table of Istio's own rules. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseAddress } from '../../src/policy/address.ts';
import { cidrPrefixes, parseCidr } from '../../src/policy/cidr.ts';

/** enum policy_flags, verdict and rule_list of bpf/, as far as the cases use them. */
const OUT_ALL = 1;
const IN_ALL = 2;
const LOOPBACK_INCLUDED = 4;
const ISTIO = OUT_ALL | IN_ALL | 8 | 16;
const VERDICTS = ['pass', 'outbound', 'inbound'];
const LISTS = { outExclude: 1, outInclude: 2, inExclude: 3, inInclude: 4 };

interface Rules {
  flags: number;
  ports?: [keyof typeof LISTS, number][];
  cidrs?: [keyof typeof LISTS, string][];
}
interface Outbound {
  uid?: number;
  gid?: number;
  /** The process runs in the sidecar's cgroup, or that is not known. */
  confirmed?: boolean;
  to: string;
  port?: number;
  from?: string;
}

const POD = '10.0.0.5';
const POD6 = 'fd00::5';
const DEFAULTS: Rules = { flags: ISTIO };
const SIDECAR = { uid: 1337, gid: 1337 };

let directory = '';
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'shunt-decide-'));
  execFileSync('clang', [
    '-Wall',
    '-Werror',
    '-o',
    join(directory, 'decide'),
    join(import.meta.dirname, '../../native/decide/decide.c'),
  ]);
});
after(() => rmSync(directory, { recursive: true }));

function hex(address: string): string {
  const bytes = parseAddress(address);
  assert.ok(bytes, address);
  return Buffer.from(bytes).toString('hex');
}

function head(direction: string, rules: Rules): (string | number)[] {
  const ports = (rules.ports ?? []).map(([list, port]) => `${LISTS[list]}:${port}`);
  const cidrs = (rules.cidrs ?? []).flatMap(([list, text]) => {
    const cidr = parseCidr(text);
    assert.ok(cidr, text);
    return cidrPrefixes(cidr).map(
      ({ bytes, bits }) => `${LISTS[list]}:${Buffer.from(bytes).toString('hex')}/${bits}`,
    );
  });
  return [direction, rules.flags, 15008, 1337, 1337, ports.join() || '-', cidrs.join() || '-'];
}

function run(words: (string | number)[]): string {
  const output = execFileSync(join(directory, 'decide'), { input: `${words.join(' ')}\n`, encoding: 'utf8' });
  return VERDICTS[Number(output.split(' ')[0])] ?? output;
}

function outbound(rules: Rules, facts: Outbound): string {
  const { uid = 1000, gid = 1000, confirmed = true, to, port = 80, from } = facts;
  const local = to === POD || to === POD6 || to === '::6' ? 1 : 0;
  const any = to.includes(':') ? '::' : '0.0.0.0';
  return run([...head('out', rules), uid, gid, confirmed ? 1 : 0, local, port, hex(to), hex(from ?? any)]);
}

function inbound(rules: Rules, port: number, local = false): string {
  return run([...head('in', rules), port, local ? 1 : 0]);
}

describe('outbound decision under default rules', () => {
  const cases: [string, Outbound, string][] = [
    ['an application to an outside host', { to: '10.1.2.3' }, 'outbound'],
    ['an application to an outside host over IPv6', { to: '2001:db8::1' }, 'outbound'],
    ['an application to 127.0.0.1', { to: '127.0.0.1' }, 'pass'],
    ['an application to 127.0.0.9', { to: '127.0.0.9' }, 'pass'],
    ['an application to ::1', { to: '::1' }, 'pass'],
    ['an application to 0.0.0.0', { to: '0.0.0.0' }, 'pass'],
    ['an application to its own pod', { to: POD }, 'pass'],
    ['an application to its own pod over IPv6', { to: POD6 }, 'pass'],
    ['a process with the gid alone to an outside host', { gid: 1337, to: '10.1.2.3' }, 'pass'],
    ['root to an outside host', { uid: 0, gid: 0, to: '10.1.2.3' }, 'outbound'],
    ['the sidecar to an outside host', { ...SIDECAR, to: '10.1.2.3' }, 'pass'],
    ['the sidecar to its own pod', { ...SIDECAR, to: POD, port: 8080 }, 'inbound'],
    ['the sidecar to its own pod over IPv6', { ...SIDECAR, to: POD6, port: 8080 }, 'inbound'],
    ['the sidecar to 127.0.0.6', { ...SIDECAR, to: '127.0.0.6', port: 15002 }, 'inbound'],
    ['the sidecar to ::6', { ...SIDECAR, to: '::6', port: 15002 }, 'inbound'],
    ['the sidecar to its own tunnel port', { ...SIDECAR, to: POD, port: 15008 }, 'pass'],
    ['the sidecar from 127.0.0.6 to its own pod', { ...SIDECAR, to: POD, from: '127.0.0.6' }, 'pass'],
    ['the sidecar from ::6 to its own pod', { ...SIDECAR, to: POD6, from: '::6' }, 'pass'],
    ['the sidecar to localhost', { ...SIDECAR, to: '127.0.0.1' }, 'pass'],
    ['an impersonator to an outside host', { ...SIDECAR, confirmed: false, to: '10.1.2.3' }, 'outbound'],
    ['an impersonator to its own pod', { ...SIDECAR, confirmed: false, to: POD }, 'pass'],
  ];
  for (const [name, facts, expected] of cases) {
    it(`${name}: ${expected}`, () => assert.equal(outbound(DEFAULTS, facts), expected));
  }
});

describe('outbound decision with lists', () => {
  it('lets an excluded port pass before any other rule', () => {
    const rules: Rules = { flags: ISTIO, ports: [['outExclude', 3306]] };
    assert.equal(outbound(rules, { to: '10.1.2.3', port: 3306 }), 'pass');
    assert.equal(outbound(rules, { ...SIDECAR, to: POD, port: 3306 }), 'pass');
    assert.equal(outbound(rules, { to: '10.1.2.3', port: 3307 }), 'outbound');
  });

  it('lets an excluded block pass, in its own family alone', () => {
    const rules: Rules = {
      flags: ISTIO,
      cidrs: [
        ['outExclude', '10.0.0.0/8'],
        ['outExclude', '2001:db8::/32'],
      ],
    };
    assert.equal(outbound(rules, { to: '10.1.2.3' }), 'pass');
    assert.equal(outbound(rules, { to: '11.1.2.3' }), 'outbound');
    assert.equal(outbound(rules, { to: '2001:db8::1' }), 'pass');
    assert.equal(outbound(rules, { to: '2001:db9::1' }), 'outbound');
  });

  it('captures only included blocks and ports when not all are', () => {
    const rules: Rules = {
      flags: ISTIO & ~OUT_ALL,
      cidrs: [['outInclude', '10.96.0.0/12']],
      ports: [['outInclude', 443]],
    };
    assert.equal(outbound(rules, { to: '10.97.0.1' }), 'outbound');
    assert.equal(outbound(rules, { to: '192.0.2.1' }), 'pass');
    assert.equal(outbound(rules, { to: '192.0.2.1', port: 443 }), 'outbound');
  });

  it('keeps an exclusion above an included port', () => {
    const rules: Rules = {
      flags: ISTIO & ~OUT_ALL,
      cidrs: [['outExclude', '192.0.2.0/24']],
      ports: [['outInclude', 443]],
    };
    assert.equal(outbound(rules, { to: '192.0.2.1', port: 443 }), 'pass');
  });

  it('captures loopback beside localhost when an included block covers it', () => {
    const rules: Rules = {
      flags: (ISTIO & ~OUT_ALL) | LOOPBACK_INCLUDED,
      cidrs: [['outInclude', '127.0.0.0/8']],
    };
    assert.equal(outbound(rules, { to: '127.0.0.9' }), 'outbound');
    assert.equal(outbound(rules, { to: '127.0.0.1' }), 'pass');
  });
});

describe('inbound decision', () => {
  it('captures every port from outside but the tunnel and the excluded', () => {
    const rules: Rules = { flags: ISTIO, ports: [['inExclude', 15021]] };
    assert.equal(inbound(rules, 8080), 'inbound');
    assert.equal(inbound(rules, 15006), 'inbound');
    assert.equal(inbound(rules, 15021), 'pass');
    assert.equal(inbound(rules, 15008), 'pass');
  });

  it('leaves what comes from inside the pod alone', () => {
    assert.equal(inbound(DEFAULTS, 8080, true), 'pass');
  });

  it('captures only listed ports when not all are, and reads no exclusion then', () => {
    const rules: Rules = {
      flags: ISTIO & ~IN_ALL,
      ports: [
        ['inInclude', 8080],
        ['inExclude', 8080],
      ],
    };
    assert.equal(inbound(rules, 8080), 'inbound');
    assert.equal(inbound(rules, 9090), 'pass');
  });
});
