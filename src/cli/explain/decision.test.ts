import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { RULES } from '../../datapath/ebpf/native_decision.ts';
import { basePolicy, type RedirectPolicy } from '../../policy/policy.ts';
import { decide, type Place } from './decision.ts';
import { readQuestion } from './question.ts';

const POD: Place = { addresses: ['10.0.0.5', 'fd00::5'], backend: 'ebpf', listeners: null };

function policy(change: (policy: RedirectPolicy) => void = () => {}, mesh = 'istio'): RedirectPolicy {
  const made = basePolicy(
    mesh,
    { proxyUids: [1337], proxyGids: [1337] },
    { outbound: 15001, inbound: 15006, tunnel: 15008 },
  );
  change(made);
  return made;
}

function ask(made: RedirectPolicy, options: Record<string, string | boolean>, place = POD) {
  const { verdict, rule, target, notes } = decide(made, place, readQuestion(options));
  return { verdict, rule, port: target?.port ?? null, notes };
}

const OUT = { to: '192.0.2.1:80', uid: '1000' };
const IN = { inbound: true, from: '192.0.2.1', port: '8080' };

it('names the rules of bpf/policy.h in their order', () => {
  const header = readFileSync(new URL('../../../bpf/policy.h', import.meta.url), 'utf8');
  const [, body = ''] = /enum rule \{([^}]*)\}/.exec(header) ?? [];
  const names = [...body.matchAll(/RULE_(\w+)/g)].map(([, name = '']) =>
    name.toLowerCase().replaceAll('_', '-'),
  );
  assert.deepEqual(names, RULES);
});

describe('a decision', () => {
  it('takes the addresses of the pod for its own', () => {
    assert.equal(ask(policy(), { to: '10.0.0.5:80', uid: '1000' }).rule, 'app-local');
    assert.equal(ask(policy(), { to: '10.0.0.6:80', uid: '1000' }).rule, 'capture-all');
    const self = ask(policy(), { to: '[fd00::5]:80', uid: '1337' });
    assert.deepEqual([self.verdict, self.rule, self.port], ['inbound', 'self-call', 15006]);
  });

  it('takes lists of ports and blocks as the maps hold them', () => {
    const lists = policy(({ outbound }) => {
      outbound.excludePorts = [{ first: 1000, last: 2001 }];
      outbound.excludeCidrs = ['198.51.100.0/24', '::/0'];
    });
    assert.equal(ask(lists, { to: '192.0.2.1:2001', uid: '1000' }).rule, 'excluded-port');
    assert.equal(ask(lists, { to: '192.0.2.1:2002', uid: '1000' }).rule, 'capture-all');
    assert.equal(ask(lists, { to: '198.51.100.9:80', uid: '1000' }).rule, 'excluded-cidr');
    assert.equal(ask(lists, { to: '[2001:db8::1]:80', uid: '1000' }).rule, 'excluded-cidr');
  });

  it('refuses inbound where the kernel holds no listener of the sidecar, in that family alone', () => {
    const place = { ...POD, listeners: { ip4: 0, ip6: 1 } };
    assert.equal(ask(policy(), IN, place).verdict, 'refuse');
    assert.equal(ask(policy(), { ...IN, from: '2001:db8::1' }, place).verdict, 'inbound');
  });

  it('says whom it takes for the sidecar, and that the pod has no address', () => {
    assert.match(ask(policy(), { ...OUT, gid: '1337' }).notes.join(), /taken for the sidecar/);
    assert.match(ask(policy(), OUT, { ...POD, addresses: [] }).notes.join(), /no address yet/);
  });
});

describe('a DNS query', () => {
  const capture = (mode: 'all' | 'servers' | 'localhost', tcp: 'capture' | 'as-other-tcp' = 'capture') =>
    policy(({ dns }) => {
      Object.assign(dns, { mode, servers: ['192.0.2.53'], target: { address: null, port: 15053 }, tcp });
    });
  const query = { to: '192.0.2.53:53', uid: '1000', udp: true };

  it('goes to the DNS proxy over UDP, and over TCP where the mesh wants it', () => {
    assert.deepEqual(ask(capture('all'), query).port, 15053);
    assert.equal(ask(capture('all'), { ...query, udp: false }).verdict, 'dns');
    assert.equal(ask(capture('all', 'as-other-tcp'), { ...query, udp: false }).verdict, 'outbound');
    assert.equal(ask(capture('localhost'), { ...query, to: '127.0.0.1:53' }).verdict, 'dns');
  });

  it('passes when it is for another server, of the sidecar, or excluded', () => {
    assert.equal(ask(capture('servers'), { ...query, to: '192.0.2.54:53' }).rule, 'udp');
    assert.equal(ask(capture('all'), { ...query, uid: '1337' }).rule, 'sidecar');
    const excluded = capture('all');
    excluded.outbound.excludePorts = [{ first: 53, last: 53 }];
    assert.equal(ask(excluded, query).verdict, 'dns', 'the exclusion is of TCP');
    excluded.outbound.excludePortProtocols = 'both';
    assert.equal(ask(excluded, query).rule, 'excluded-port');
  });

  it('of the sidecar of a mesh that asks for DNS first is captured too', () => {
    const other = { ...capture('all'), mesh: 'consul' };
    assert.equal(ask(other, { ...query, uid: '1337' }).verdict, 'dns');
  });
});

describe('what some meshes alone ask', () => {
  const cases: [string, (policy: RedirectPolicy) => void, Record<string, string | boolean>, string][] = [
    ['families', (p) => Object.assign(p.families, { ip4: false }), OUT, 'family'],
    [
      'exempt.uids',
      (p) => Object.assign(p.exempt, { uids: [{ first: 900, last: 1000 }] }),
      OUT,
      'exempt-user',
    ],
    [
      'exempt.uidPorts',
      (p) =>
        p.exempt.uidPorts.push({
          protocols: 'tcp',
          ports: [{ first: 80, last: 80 }],
          uids: { first: 1000, last: 1000 },
        }),
      OUT,
      'exempt-user-port',
    ],
    ['exempt.includeGids', (p) => Object.assign(p.exempt, { includeGids: [7] }), OUT, 'exempt-group'],
    ['exempt.includeGids, exempt.excludeGids', (p) => p.exempt.excludeGids.push(1000), OUT, 'exempt-group'],
    [
      'loopback.localhost4',
      (p) => Object.assign(p.loopback, { localhost4: '127.0.0.0/8', application: 'bypass-localhost' }),
      { to: '127.0.0.9:80', uid: '1000' },
      'localhost',
    ],
    [
      'loopback.sidecarLocalhostToPodIp',
      (p) => Object.assign(p.loopback, { sidecarLocalhostToPodIp: true }),
      { to: '127.0.0.1:80', uid: '1337' },
      'sidecar-localhost',
    ],
    ['inbound.excludeSources', (p) => p.inbound.excludeSources.push('192.0.2.0/24'), IN, 'excluded-source'],
  ];
  for (const [field, change, question, rule] of cases) {
    it(`is asked where it bears on the connection: ${field}`, () => {
      assert.equal(ask(policy(change), question).rule, rule);
      const elsewhere = { to: '[2001:db8::1]:443', uid: '2000', gid: '7' };
      assert.equal(ask(policy(change), elsewhere).verdict, 'outbound');
    });
  }

  it('tells of interfaces, which no question names', () => {
    const answer = ask(
      policy(({ interfaces }) => interfaces.exclude.push('net1')),
      OUT,
    );
    assert.equal(answer.verdict, 'outbound');
    assert.match(answer.notes.join(), /interfaces\.exclude/);
  });
});

describe('a pod that eBPF does not enforce', () => {
  const byRules: Place = { ...POD, backend: 'iptables' };

  it("is answered in its mesh's own order", () => {
    const excluded = (mesh: string) =>
      policy(({ outbound }) => outbound.excludePorts.push({ first: 80, last: 80 }), mesh);
    const self = { to: '10.0.0.5:80', uid: '1337' };
    assert.deepEqual(ask(excluded('istio'), self, byRules).rule, 'excluded-port');
    assert.deepEqual(ask(excluded('osm'), self, byRules).rule, 'self-call');
    assert.deepEqual(
      ask(
        policy(() => {}, 'linkerd'),
        OUT,
        byRules,
      ).notes,
      [],
    );
  });

  it('is answered by what its mesh alone asks', () => {
    const exempt = policy(({ exempt: { uids } }) => uids.push({ first: 900, last: 1000 }));
    assert.equal(ask(exempt, OUT, byRules).rule, 'exempt-user');
    const sources = policy(({ inbound }) => inbound.excludeSources.push('192.0.2.0/24'));
    assert.equal(ask(sources, IN, byRules).rule, 'excluded-source');
    const consul = policy(({ dns }) => {
      Object.assign(dns, { mode: 'all', target: { address: null, port: 8600 }, tcp: 'capture' });
    }, 'consul');
    assert.deepEqual(ask(consul, { to: '192.0.2.53:53', uid: '1337', udp: true }, byRules).port, 8600);
  });
});
