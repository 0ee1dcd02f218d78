/** The iptables backend in real network namespaces, judged by iptables-save. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { IptablesDatapath } from '../../src/datapath/iptables/datapath.ts';
import { ShuntError } from '../../src/errors.ts';
import { resolveNetns } from '../../src/pod/netns.ts';
import type { Workload } from '../../src/pod/workload.ts';
import { basePolicy, type RedirectPolicy } from '../../src/policy/policy.ts';

const NETNS = `shunt-b-${process.pid}`;
const PATH = `/run/netns/${NETNS}`;
const hasIpv6 = existsSync('/proc/sys/net/ipv6');
const FOREIGN =
  '*nat\n:THEIRS - [0:0]\n-A OUTPUT -p tcp -m tcp --dport 7 -m comment --comment "not -j SHUNT_OUTPUT" -j THEIRS\n-A THEIRS -m comment --comment "a -j SHUNT_b" -j RETURN\nCOMMIT\n*filter\n-A INPUT -p udp -m udp --dport 9 -j DROP\nCOMMIT\n';

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shunt-iptables-'));
  makeNetns();
});

afterEach(() => {
  if (existsSync(PATH)) run('ip', ['netns', 'del', NETNS]);
  rmSync(folder, { recursive: true });
});

function makeNetns(): void {
  run('ip', ['netns', 'add', NETNS]);
  inside('ip', ['link', 'set', 'lo', 'up']);
  inside('ip', ['address', 'add', '10.0.0.5/32', 'dev', 'lo']);
  if (hasIpv6) inside('ip', ['address', 'add', 'fd00::5/128', 'dev', 'lo', 'nodad']);
}

function run(file: string, args: string[], input = ''): string {
  return execFileSync(file, args, { encoding: 'utf8', input, stdio: ['pipe', 'pipe', 'pipe'] });
}

function inside(file: string, args: string[] = [], input = ''): string {
  return run('nsenter', [`--net=${PATH}`, '--', file, ...args], input);
}

/** Rules of a family without the times and counters that iptables-save prints. */
function saved(tool = 'iptables-nft-save'): string {
  const lines = inside(tool).split('\n');
  return lines
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replace(/\[\d+:\d+\]/g, '[0:0]');
}

function rules(text: string): string[] {
  return text.split('\n').filter((line) => line.startsWith('-A'));
}

function policy(): RedirectPolicy {
  const identity = { proxyUids: [1337], proxyGids: [1337] };
  return basePolicy('istio', identity, { outbound: 15001, inbound: 15006, tunnel: 15008 });
}

function workload(change: (policy: RedirectPolicy) => void = () => {}): Workload {
  const wanted = policy();
  change(wanted);
  const name = { namespace: 'test', name: 'pod', uid: 'test/pod' };
  return {
    ...name,
    netns: resolveNetns(PATH),
    ip4: '10.0.0.5',
    ip6: hasIpv6 ? 'fd00::5' : null,
    sidecarCgroup: null,
    policy: wanted,
    acceleration: 'off',
  };
}

function everything(policy: RedirectPolicy): void {
  policy.dns = {
    mode: 'all',
    servers: [],
    target: { address: null, port: 15053 },
    tcp: 'capture',
    splitZones: true,
  };
  policy.misc.dropInvalid = true;
  policy.exempt = { uids: [{ first: 5, last: 9 }], includeGids: [1, 2], excludeGids: [3], uidPorts: [] };
  policy.interfaces = {
    exclude: ['eth1'],
    reroute: ['tap0'],
    virtual: [{ name: 'br+', cidr: '172.16.0.0/12' }],
  };
  policy.outbound.excludePorts = Array.from({ length: 40 }, (_, i) => ({
    first: 3000 + 3 * i,
    last: 3001 + 3 * i,
  }));
  policy.outbound.excludeCidrs = ['10.9.0.0/16', '2001:db8::/32'];
}

describe('enrolling a pod', () => {
  it('puts in exactly the rules rendered, in the form in which iptables prints them', async () => {
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload(everything));
    const { renderDocument } = await import('../../src/datapath/iptables/render.ts');
    const wanted = policy();
    everything(wanted);
    assert.deepEqual(rules(saved()).sort(), rules(renderDocument(wanted, 4, '10.0.0.5')).sort());
    if (hasIpv6) {
      assert.deepEqual(
        rules(saved('ip6tables-nft-save')).sort(),
        rules(renderDocument(wanted, 6, 'fd00::5')).sort(),
      );
    }
    assert.deepEqual(await datapath.drift(workload(everything)), []);
  });

  it('twice changes nothing', async () => {
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload());
    const once = saved();
    await datapath.enroll(workload());
    assert.equal(saved(), once);
  });

  it('with another policy replaces the first, tables that are no longer needed included', async () => {
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload(everything));
    assert.match((await datapath.drift(workload())).join(), /another policy/);
    await datapath.enroll(workload());
    assert.doesNotMatch(saved(), /SHUNT_ZONES|SHUNT_INVALID|SHUNT_GROUPS/);
    assert.deepEqual(await datapath.drift(workload()), []);
  });

  it('adds ::6 to lo and takes it away again', { skip: !hasIpv6 }, async () => {
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload());
    assert.ok(resolveNetns(PATH).addresses.includes('::6'));
    await datapath.enroll(workload());
    await datapath.withdraw(workload().netns.cookie);
    assert.equal(resolveNetns(PATH).addresses.includes('::6'), false);
  });

  it('leaves ::6 on lo where it was before', { skip: !hasIpv6 }, async () => {
    using datapath = new IptablesDatapath(folder);
    inside('ip', ['-6', 'address', 'add', '::6/128', 'dev', 'lo']);
    await datapath.enroll(workload());
    await datapath.withdraw(workload().netns.cookie);
    assert.ok(resolveNetns(PATH).addresses.includes('::6'));
  });

  it('takes 5,000 blocks and 1,000 ports in one restore', async () => {
    using datapath = new IptablesDatapath(folder);
    const large = workload(({ outbound }) => {
      outbound.excludeCidrs = Array.from({ length: 5000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
      outbound.excludePorts = Array.from({ length: 1000 }, (_, i) => ({ first: 2 * i + 1, last: 2 * i + 1 }));
    });
    await datapath.enroll(large);
    assert.equal(rules(saved()).filter((rule) => rule.includes('-d 10.')).length, 5000);
    assert.deepEqual(await datapath.drift({ ...large, netns: resolveNetns(PATH) }), []);
  });
});

describe('rules of others', () => {
  it('stay byte for byte while a pod is enrolled and after it is withdrawn', async () => {
    inside('iptables-nft-restore', ['--noflush'], FOREIGN);
    const before = saved();
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload());
    assert.deepEqual(
      rules(saved()).filter((rule) => !/^-A SHUNT_|-j SHUNT_\w+$/.test(rule)),
      rules(before),
    );
    await datapath.withdraw(workload().netns.cookie);
    assert.equal(saved(), before);
    assert.equal(datapath.isEnrolled(workload().netns.cookie), false);
  });

  it('decide where ours go: to legacy where it has rules, per family', async () => {
    inside('iptables-legacy-restore', ['--noflush'], FOREIGN);
    const before = saved('iptables-legacy-save');
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload());
    assert.match(saved('iptables-legacy-save'), /SHUNT_OUTPUT/);
    assert.doesNotMatch(saved(), /SHUNT_OUTPUT/);
    if (hasIpv6) assert.match(saved('ip6tables-nft-save'), /SHUNT_OUTPUT/);
    assert.deepEqual(await datapath.drift(workload()), []);
    await datapath.withdraw(workload().netns.cookie);
    assert.equal(saved('iptables-legacy-save'), before);
  });
});

describe('drift', () => {
  const damages: [string, () => void][] = [
    ['a chain was emptied', () => inside('iptables-nft', ['-t', 'nat', '-F', 'SHUNT_OUTPUT'])],
    ['a jump was deleted', () => inside('iptables-nft', ['-t', 'nat', '-D', 'OUTPUT', '-j', 'SHUNT_OUTPUT'])],
    ['a jump was doubled', () => inside('iptables-nft', ['-t', 'nat', '-A', 'OUTPUT', '-j', 'SHUNT_OUTPUT'])],
    ['a rule was put in', () => inside('iptables-nft', ['-t', 'nat', '-I', 'SHUNT_OUTPUT', '-j', 'RETURN'])],
    ['everything was flushed', () => inside('iptables-nft', ['-t', 'nat', '-F'])],
  ];
  for (const [name, damage] of damages) {
    it(`is seen and repaired when ${name}`, async () => {
      using datapath = new IptablesDatapath(folder);
      await datapath.enroll(workload());
      const whole = rules(saved());
      damage();
      assert.deepEqual(await datapath.drift(workload()), ['its IPv4 rules are not as they were applied']);
      await datapath.enroll(workload());
      assert.deepEqual(rules(saved()).sort(), whole.sort());
      assert.deepEqual(await datapath.drift(workload()), []);
    });
  }

  it('is not seen where others change rules of their own', async () => {
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload());
    inside('iptables-nft-restore', ['--noflush'], FOREIGN);
    assert.deepEqual(await datapath.drift(workload()), []);
  });
});

describe('a later agent', () => {
  it('finds the pods of an earlier one, and withdraws them', async () => {
    inside('iptables-nft-restore', ['--noflush'], FOREIGN);
    const before = saved();
    const { cookie } = workload().netns;
    {
      using first = new IptablesDatapath(folder);
      await first.enroll(workload());
    }
    using second = new IptablesDatapath(folder);
    assert.equal(second.adopted.pods, 1);
    assert.ok(second.isEnrolled(cookie));
    assert.deepEqual(await second.drift(workload()), []);
    await second.withdraw(cookie);
    assert.equal(saved(), before);
    assert.equal(existsSync(join(folder, 'iptables')), false, 'no folder without a record');
  });

  it('takes over rules that no record tells of', async () => {
    {
      using first = new IptablesDatapath(folder);
      await first.enroll(workload());
    }
    const once = saved();
    rmSync(join(folder, 'iptables'), { recursive: true });
    using second = new IptablesDatapath(folder);
    await second.enroll(workload());
    assert.equal(saved(), once);
  });
});

describe('what goes wrong', () => {
  it('in IPv6 takes IPv4 back, and names the line and what iptables said', { skip: !hasIpv6 }, async () => {
    using datapath = new IptablesDatapath(folder);
    await datapath.enroll(workload());
    const [ip4, ip6] = [saved(), saved('ip6tables-nft-save')];
    // A port that validation never lets through, of an address that only IPv6 rules can hold.
    const bad = workload(({ dns, outbound }) => {
      Object.assign(dns, { mode: 'all', target: { address: 'fd00::a', port: 70000 } });
      outbound.excludePorts = [{ first: 9, last: 9 }];
    });
    await assert.rejects(datapath.enroll(bad), (error) => {
      assert.ok(error instanceof ShuntError);
      assert.equal(error.code, 'SHUNT_E_IPTABLES_APPLY');
      assert.match(
        error.message,
        /^test\/pod: ip6tables-nft-restore: "-A SHUNT_OUTPUT .*--to-destination.*": .*[Pp]ort/,
      );
      return true;
    });
    assert.equal(saved(), ip4);
    assert.equal(saved('ip6tables-nft-save'), ip6);
    assert.deepEqual(await datapath.drift(workload()), []);
  });

  it('with the namespace: a pod whose namespace went away is gone, and is withdrawn without a word', async () => {
    using datapath = new IptablesDatapath(folder);
    const pod = workload();
    await datapath.enroll(pod);
    assert.equal(datapath.isGone(pod.netns.cookie), false);
    run('ip', ['netns', 'del', NETNS]);
    assert.ok(datapath.isGone(pod.netns.cookie));
    await datapath.withdraw(pod.netns.cookie);
    assert.deepEqual(datapath.pods(), []);
    await assert.rejects(datapath.enroll(pod), { code: 'SHUNT_E_NETNS_MISSING' });
  });
});

describe('the inbound part, where eBPF takes the rest', () => {
  const chains = (): string[] =>
    [...saved().matchAll(/^:(SHUNT_\w+)/gm)].map(([, name]) => name ?? '').sort();
  const INBOUND = ['SHUNT_INBOUND', 'SHUNT_TO_INBOUND'];

  it('is the chain that what comes from outside meets, in both families, and nothing else of the policy', async () => {
    using inbound = new IptablesDatapath(folder, 'inbound');
    await inbound.enroll(workload());
    assert.deepEqual(chains(), INBOUND);
    assert.deepEqual(
      rules(saved()).filter((rule) => /-A (PREROUTING|OUTPUT)/.test(rule)),
      ['-A PREROUTING -j SHUNT_INBOUND'],
    );
    assert.deepEqual(await inbound.drift(workload()), []);
    if (hasIpv6) assert.doesNotMatch(inside('ip', ['address', 'show', 'dev', 'lo']), /inet6 ::6/);
    await inbound.withdraw(workload().netns.cookie);
    assert.deepEqual(chains(), []);
  });

  it("takes over from the whole and gives back to it, and neither takes away what is then the other's", async () => {
    using whole = new IptablesDatapath(folder);
    using inbound = new IptablesDatapath(folder, 'inbound');
    const { cookie } = workload().netns;
    await whole.enroll(workload());
    const all = chains();
    await inbound.enroll(workload());
    await whole.withdraw(cookie);
    assert.deepEqual([whole.isEnrolled(cookie), chains()], [false, INBOUND]);
    await whole.enroll(workload());
    await inbound.withdraw(cookie);
    assert.deepEqual([inbound.isEnrolled(cookie), chains()], [false, all]);
    await whole.withdraw(cookie);
    assert.deepEqual([chains(), IptablesDatapath.recorded(folder)], [[], []]);
  });
});
