import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tierState } from '../../datapath/tier.ts';
import { effectiveCapabilities } from './capabilities.ts';
import { judge } from './checks.ts';
import type { Facts } from './facts.ts';
import type { Finding } from './finding.ts';
import { mountOf, parseMounts } from './mounts.ts';

const MOUNTINFO = `23 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
40 23 0:35 / /sys/fs/bpf rw,relatime - bpf bpf rw
41 23 0:36 / /mnt/with\\040blank ro,relatime shared:9 master:1 - bpf bpf rw
`;

const GOOD: Facts = {
  kernel: '6.1.0-18-amd64',
  btfBytes: 5_000_000,
  mounts: parseMounts(MOUNTINFO),
  cgroup2: ['/sys/fs/cgroup/unified'],
  kubepods: '/sys/fs/cgroup/unified/kubepods',
  bpffs: '/sys/fs/bpf',
  capabilities: new Set(['BPF', 'NET_ADMIN', 'PERFMON', 'SYS_ADMIN', 'SYS_PTRACE', 'DAC_READ_SEARCH']),
  jit: '1',
  libbpf: { version: 'v1.1' },
  tier: tierState(3, null),
  features: [
    { name: 'sk_lookup', available: true, reason: null, needed: 'inbound redirection', since: '5.9' },
  ],
  tools: {
    ip: '/ip',
    nsenter: '/nsenter',
    iptables: '/iptables',
    clang: '/clang',
    envoy: '/envoy',
    haproxy: null,
  },
  agent: { pid: 1, version: '0.1.0' },
  pins: { layout: 1, expected: 1 },
};

function finding(check: string, changes: Partial<Facts>): Finding {
  const found = judge({ ...GOOD, ...changes }).find((candidate) => candidate.check === check);
  assert.ok(found, `there is no check ${check}`);
  return found;
}

describe('the checks of doctor', () => {
  it('are all ok on a good node', () => {
    assert.deepEqual(
      judge(GOOD).filter(({ level }) => level !== 'ok'),
      [],
    );
  });

  it('fail on what redirection cannot do without, and name the one thing to do', () => {
    const unknown = { code: 'LIBBPF_TOO_OLD', message: 'libbpf 0.8', fix: 'install libbpf 1.1' };
    const cases: [string, Partial<Facts>, RegExp][] = [
      ['tier', { tier: tierState(0, 'bpf(2) is denied') }, /--backend iptables/],
      ['tier', { tier: unknown }, /install libbpf/],
      ['cgroup2', { cgroup2: [] }, /mount -t cgroup2/],
      ['bpffs', { bpffs: '/run/nowhere' }, /mount -t bpf bpf \/run\/nowhere/],
      ['bpffs', { bpffs: '/mnt/with blank/sub' }, /remount,rw \/mnt\/with blank/],
      ['CAP_NET_ADMIN', { capabilities: new Set(['BPF', 'SYS_ADMIN']) }, /CAP_NET_ADMIN/],
      ['CAP_BPF', { capabilities: new Set(['NET_ADMIN']) }, /CAP_BPF/],
      ['libbpf', { libbpf: unknown }, /install libbpf/],
      ['pins', { pins: { layout: 7, expected: 1 } }, /cleanup/],
      ['kernel features', { features: unknown }, /install libbpf/],
      [
        'cgroup/connect4',
        {
          features: [
            {
              name: 'cgroup/connect4',
              available: false,
              reason: 'EINVAL',
              needed: 'outbound redirection',
              since: '4.17',
            },
          ],
        },
        /4\.17/,
      ],
    ];
    for (const [check, changes, fix] of cases) {
      const { level, fix: said } = finding(check, changes);
      assert.equal(level, 'fail', check);
      assert.match(said ?? '', fix);
    }
  });

  it('only warn of what costs a feature', () => {
    const down = { code: 'SHUNT_E_AGENT_DOWN', message: 'nobody', fix: 'start it' };
    const cases: [string, Partial<Facts>][] = [
      ['kernel', { kernel: '4.18.0-553.el8_10.x86_64' }],
      ['kernel BTF', { btfBytes: null }],
      ['tier', { tier: tierState(1, 'inbound steering does not work here') }],
      ['tier', { tier: tierState(2, 'the kernel has no BTF') }],
      ['pod cgroup', { kubepods: null }],
      ['CAP_SYS_PTRACE', { capabilities: new Set(['BPF', 'NET_ADMIN', 'SYS_ADMIN']) }],
      ['BPF JIT', { jit: '0' }],
      ['BPF JIT', { jit: null }],
      ['agent', { agent: down }],
      ['clang', { tools: { ...GOOD.tools, clang: null } }],
      ['sidecar proxy', { tools: { ...GOOD.tools, envoy: null } }],
      [
        'sk_msg',
        {
          features: [
            { name: 'sk_msg', available: false, reason: null, needed: 'acceleration', since: '4.17' },
          ],
        },
      ],
    ];
    for (const [check, changes] of cases) assert.equal(finding(check, changes).level, 'warn', check);
  });

  it('say the tier, and why it is no higher, whatever the version of the kernel', () => {
    assert.match(finding('tier', { kernel: '4.18.0-553.el8' }).detail, /^3: /);
    assert.match(finding('tier', {}).detail, /^3: .*acceleration$/);
    assert.match(finding('tier', { tier: tierState(2, 'no BTF') }).detail, /^2: .*; no higher: no BTF$/);
  });

  it('tell a hybrid cgroup set-up, and take CAP_SYS_ADMIN for the capabilities split off from it', () => {
    assert.match(finding('cgroup2', {}).detail, /hybrid/);
    const { level, detail } = finding('CAP_BPF', { capabilities: new Set(['NET_ADMIN', 'SYS_ADMIN']) });
    assert.deepEqual([level, detail.endsWith('(by CAP_SYS_ADMIN)')], ['ok', true]);
  });

  it('do not hold it against the pins that an agent has not signed them yet', () => {
    assert.equal(finding('pins', { pins: { layout: 0, expected: 1 } }).level, 'ok');
    assert.equal(finding('pins', { pins: null }).level, 'ok');
  });
});

describe('mountinfo', () => {
  it('is read with its octal escapes, and the deepest mount above a path is found', () => {
    assert.equal(mountOf(GOOD.mounts, '/sys/fs/bpf/sub')?.type, 'bpf');
    assert.equal(mountOf(GOOD.mounts, '/sys/fs/bpfx')?.type, 'sysfs');
    assert.deepEqual(mountOf(GOOD.mounts, '/mnt/with blank'), {
      point: '/mnt/with blank',
      type: 'bpf',
      readOnly: true,
    });
    assert.equal(mountOf(GOOD.mounts, '/elsewhere'), undefined);
  });
});

describe('capabilities', () => {
  it('are the bits of CapEff', () => {
    assert.deepEqual(
      effectiveCapabilities('Name:\tx\nCapPrm:\tffff\nCapEff:\t000000c000001000\n'),
      new Set(['NET_ADMIN', 'PERFMON', 'BPF']),
    );
    assert.deepEqual(effectiveCapabilities('CapEff:\t0000000000000000\n'), new Set());
    assert.deepEqual(effectiveCapabilities(''), new Set());
  });
});
