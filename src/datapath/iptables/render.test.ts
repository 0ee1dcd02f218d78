/** Rules of policies in the shape of each mesh's, rule by rule. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { appMesh, consul, istio, kuma, linkerd, osm, port } from '../../../test/fixtures/policies.ts';
import { ShuntError } from '../../errors.ts';
import type { AddressFamily } from '../../policy/address.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import { renderDocument, rulesetOf } from './render.ts';
import type { TableName } from './ruleset.ts';

/** Rules of one chain without its name. */
function chain(
  policy: RedirectPolicy,
  name: string,
  family: AddressFamily = 4,
  table: TableName = 'nat',
): string[] {
  return (
    rulesetOf(policy, family, family === 4 ? '10.0.0.5' : 'fd00::5')
      .get(table)
      ?.chains.get(name) ?? []
  );
}

const output = (policy: RedirectPolicy, family: AddressFamily = 4) => chain(policy, 'SHUNT_OUTPUT', family);
const inbound = (policy: RedirectPolicy, family: AddressFamily = 4) => chain(policy, 'SHUNT_INBOUND', family);

describe('Istio', () => {
  it('gives its default document', () => {
    assert.equal(
      renderDocument(istio(), 6),
      `*nat
:SHUNT_TO_OUTBOUND - [0:0]
:SHUNT_TO_INBOUND - [0:0]
:SHUNT_OUTPUT - [0:0]
:SHUNT_INBOUND - [0:0]
-A SHUNT_TO_OUTBOUND -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REDIRECT --to-ports 15001
-A SHUNT_TO_INBOUND -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REDIRECT --to-ports 15006
-A SHUNT_OUTPUT -s ::6/128 -o lo -j RETURN
-A SHUNT_OUTPUT ! -d ::1/128 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j SHUNT_TO_INBOUND
-A SHUNT_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A SHUNT_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A SHUNT_OUTPUT ! -d ::1/128 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j SHUNT_TO_INBOUND
-A SHUNT_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A SHUNT_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A SHUNT_OUTPUT -d ::1/128 -j RETURN
-A SHUNT_OUTPUT -p tcp -j SHUNT_TO_OUTBOUND
-A SHUNT_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A SHUNT_INBOUND -p tcp -j SHUNT_TO_INBOUND
-A PREROUTING -j SHUNT_INBOUND
-A OUTPUT -j SHUNT_OUTPUT
COMMIT
`,
    );
  });

  it('asks for excluded ports first, and for blocks and included ports last', () => {
    const policy = istio();
    policy.outbound.excludePorts = [port(3306)];
    policy.outbound.includePorts = [port(443)];
    policy.outbound.excludeCidrs = ['10.9.0.0/16', '2001:db8::/32'];
    policy.outbound.includeCidrs = ['10.0.0.0/8', 'fd00::/8'];
    assert.deepEqual(output(policy).slice(0, 2), [
      '-p tcp -m tcp --dport 3306 -j RETURN',
      '-p udp -m udp --dport 3306 -j RETURN',
    ]);
    assert.deepEqual(output(policy).slice(-4), [
      '-d 127.0.0.1/32 -j RETURN',
      '-d 10.9.0.0/16 -j RETURN',
      '-p tcp -m tcp --dport 443 -j SHUNT_TO_OUTBOUND',
      '-d 10.0.0.0/8 -p tcp -j SHUNT_TO_OUTBOUND',
    ]);
    assert.equal(output(policy, 6).at(-1), '-d fd00::/8 -p tcp -j SHUNT_TO_OUTBOUND');
  });

  it('leaves port 53 to DNS before local traffic passes, but for the gid', () => {
    const policy = istio();
    policy.dns = {
      mode: 'servers',
      servers: ['10.96.0.10', 'fd00::a'],
      target: { address: null, port: 15053 },
      tcp: 'capture',
      splitZones: true,
    };
    assert.deepEqual(output(policy).slice(1, 10), [
      '! -d 127.0.0.1/32 -o lo -p tcp -m multiport ! --dports 15008,53 -m owner --uid-owner 1337 -j SHUNT_TO_INBOUND',
      '-o lo -p tcp -m tcp ! --dport 53 -m owner ! --uid-owner 1337 -j RETURN',
      '-m owner --uid-owner 1337 -j RETURN',
      '! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j SHUNT_TO_INBOUND',
      '-o lo -p tcp -m tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN',
      '-m owner --gid-owner 1337 -j RETURN',
      '-d 10.96.0.10/32 -p tcp -m tcp --dport 53 -j REDIRECT --to-ports 15053',
      '-d 10.96.0.10/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053',
      '-d 127.0.0.1/32 -j RETURN',
    ]);
    assert.deepEqual(chain(policy, 'SHUNT_ZONES_OUT', 6, 'raw'), [
      '-p udp -m udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1',
      '-p udp -m udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2',
      '-p udp -m udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1',
      '-p udp -m udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2',
      '-d fd00::a/128 -p udp -m udp --dport 53 -j CT --zone 2',
    ]);
    assert.deepEqual(chain(policy, 'SHUNT_ZONES_IN', 4, 'raw'), [
      '-s 10.96.0.10/32 -p udp -m udp --sport 53 -j CT --zone 1',
    ]);
  });

  it('captures included loopback blocks, and still not localhost', () => {
    const policy = istio();
    policy.loopback.application = 'capture';
    assert.equal(
      output(policy).some((rule) => rule.startsWith('-o lo')),
      false,
    );
    assert.ok(output(policy).includes('-d 127.0.0.1/32 -j RETURN'));
  });

  it('asks for owner groups after the sidecar, one rule a group', () => {
    const policy = istio();
    policy.exempt.includeGids = [10, 20];
    policy.exempt.excludeGids = [30];
    assert.deepEqual(output(policy).slice(-2), [
      '-m owner --gid-owner 10 -j SHUNT_GROUPS',
      '-m owner --gid-owner 20 -j SHUNT_GROUPS',
    ]);
    assert.deepEqual(chain(policy, 'SHUNT_GROUPS'), [
      '-m owner --gid-owner 30 -j RETURN',
      '-d 127.0.0.1/32 -j RETURN',
      '-p tcp -j SHUNT_TO_OUTBOUND',
    ]);
  });

  it('takes rerouted interfaces as outbound before it passes excluded ones', () => {
    const policy = istio();
    policy.interfaces = { exclude: ['eth1'], reroute: ['tap0'], virtual: [] };
    assert.deepEqual(inbound(policy).slice(0, 3), [
      '-i tap0 -p tcp -j SHUNT_TO_OUTBOUND',
      '-i tap0 -j RETURN',
      '-i eth1 -j RETURN',
    ]);
    assert.equal(output(policy)[0], '-o eth1 -j RETURN');
  });

  it('captures listed inbound ports alone, 15 to a rule', () => {
    const policy = istio();
    policy.inbound.includePorts = Array.from({ length: 16 }, (_, i) => port(8000 + i));
    policy.inbound.excludePorts = [port(9)];
    assert.deepEqual(inbound(policy).slice(1), [
      `-p tcp -m multiport --dports ${Array.from({ length: 15 }, (_, i) => 8000 + i).join(',')} -j SHUNT_TO_INBOUND`,
      '-p tcp -m tcp --dport 8015 -j SHUNT_TO_INBOUND',
    ]);
  });

  it('drops invalid packets where asked to', () => {
    const policy = istio();
    policy.misc.dropInvalid = true;
    assert.deepEqual(chain(policy, 'SHUNT_INVALID', 4, 'mangle'), ['-m conntrack --ctstate INVALID -j DROP']);
  });
});

describe('Linkerd', () => {
  it('passes the sidecar, then what is local, then skipped ports', () => {
    const policy = linkerd();
    policy.identity.proxyGids = [2103];
    policy.outbound.excludePorts = [port(25), { first: 4567, last: 4568 }];
    policy.inbound.excludePorts = [port(4190), port(4191)];
    policy.inbound.excludeSources = ['192.0.2.0/24'];
    assert.deepEqual(output(policy), [
      '-m owner --uid-owner 2102 -j RETURN',
      '-m owner --gid-owner 2103 -j RETURN',
      '-o lo -j RETURN',
      '-p tcp -m multiport --dports 25,4567:4568 -j RETURN',
      '-p tcp -j SHUNT_TO_OUTBOUND',
    ]);
    assert.deepEqual(inbound(policy), [
      '-s 192.0.2.0/24 -j RETURN',
      '-p tcp -m multiport --dports 4190,4191 -j RETURN',
      '-p tcp -j SHUNT_TO_INBOUND',
    ]);
  });
});

describe('Kuma', () => {
  it('asks for blocks and DNS before anything of the sidecar', () => {
    const policy = kuma();
    policy.outbound.excludePorts = [port(9999)];
    policy.outbound.excludeCidrs = ['192.0.2.0/24'];
    policy.exempt.uidPorts = [
      { protocols: 'udp', ports: [{ first: 10, last: 20 }], uids: { first: 5, last: 9 } },
    ];
    assert.deepEqual(output(policy), [
      '-p udp -m udp --dport 10:20 -m owner --uid-owner 5-9 -j RETURN',
      '-d 192.0.2.0/24 -j RETURN',
      '-p udp -m udp --dport 53 -m owner --uid-owner 5678 -j RETURN',
      '-p udp -m udp --dport 53 -j REDIRECT --to-ports 15053',
      '-p tcp -m tcp --dport 53 -m owner ! --uid-owner 5678 -j RETURN',
      '-p tcp -m tcp --dport 9999 -j RETURN',
      '-s 127.0.0.6/32 -o lo -j RETURN',
      '! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 5678 -j SHUNT_TO_INBOUND',
      '-o lo -m owner ! --uid-owner 5678 -j RETURN',
      '-m owner --uid-owner 5678 -j RETURN',
      '-d 127.0.0.1/32 -j RETURN',
      '-p tcp -j SHUNT_TO_OUTBOUND',
    ]);
  });

  it('captures nothing inbound of a gateway, and what leaves a virtual network', () => {
    const policy = kuma();
    policy.inbound.enabled = false;
    policy.interfaces.virtual = [{ name: 'br+', cidr: '172.16.0.0/12' }];
    assert.deepEqual(inbound(policy), [
      '-i br+ -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053',
      '! -d 172.16.0.0/12 -i br+ -p tcp -j SHUNT_TO_OUTBOUND',
    ]);
    assert.deepEqual(inbound(policy, 6), []);
  });
});

describe('Consul', () => {
  it('captures everything local but localhost, and sends its queries elsewhere', () => {
    const policy = consul();
    policy.dns = {
      mode: 'localhost',
      servers: [],
      target: { address: '127.0.0.1', port: 8600 },
      tcp: 'capture',
      splitZones: false,
    };
    assert.deepEqual(output(policy), [
      '-d 127.0.0.1/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.1:8600',
      '-d 127.0.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.1:8600',
      '-m owner --uid-owner 5996 -j RETURN',
      '-m owner --uid-owner 5995 -j RETURN',
      '-d 127.0.0.1/32 -j RETURN',
      '-p tcp -j SHUNT_TO_OUTBOUND',
    ]);
  });

  it('installs nothing for IPv6 without dual stack', () => assert.equal(renderDocument(consul(), 6), ''));
});

describe('OSM', () => {
  it("sends the sidecar's localhost to the pod's address, and asks for exclusions after localhost", () => {
    const policy = osm();
    policy.loopback.sidecarLocalhostToPodIp = true;
    policy.outbound.excludePorts = [port(6379)];
    policy.outbound.excludeCidrs = ['192.0.2.0/24'];
    policy.interfaces.exclude = ['net1'];
    assert.deepEqual(output(policy), [
      '-d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1500 -j DNAT --to-destination 10.0.0.5',
      '! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1500 -j SHUNT_TO_INBOUND',
      '-o lo -m owner ! --uid-owner 1500 -j RETURN',
      '-m owner --uid-owner 1500 -j RETURN',
      '-d 127.0.0.1/32 -j RETURN',
      '-o net1 -j RETURN',
      '-d 192.0.2.0/24 -j RETURN',
      '-p tcp -m tcp --dport 6379 -j RETURN',
      '-p tcp -j SHUNT_TO_OUTBOUND',
    ]);
  });
});

describe('App Mesh', () => {
  it('captures inbound only what is listed', () => {
    assert.deepEqual(inbound(appMesh()), ['-p tcp -m multiport --dports 8080,8081 -j SHUNT_TO_INBOUND']);
    assert.deepEqual(output(appMesh()), [
      '-m owner --uid-owner 1337 -j RETURN',
      '-o lo -j RETURN',
      '-p tcp -m tcp --dport 22 -j RETURN',
      '-d 169.254.169.254/32 -j RETURN',
      '-d 169.254.170.2/32 -j RETURN',
      '-p tcp -j SHUNT_TO_OUTBOUND',
    ]);
  });
});

describe('a value that no rule can hold', () => {
  for (const name of ['eth0 -j ACCEPT', '-j', 'eth0\n-F', 'a234567890123456', '']) {
    it(`is refused as an interface: ${JSON.stringify(name)}`, () => {
      const policy = istio();
      policy.interfaces.exclude = [name];
      assert.throws(
        () => renderDocument(policy, 4),
        (error) => error instanceof ShuntError && error.code === 'SHUNT_E_POLICY',
      );
    });
  }

  it('is refused as a block', () => {
    const policy = istio();
    policy.outbound.excludeCidrs = ['10.0.0.0/8 -j ACCEPT'];
    assert.throws(() => renderDocument(policy, 4), { code: 'SHUNT_E_POLICY' });
  });
});

it('gives each block a rule and 15 ports one', () => {
  const policy = istio();
  policy.outbound.excludeCidrs = Array.from({ length: 5000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  policy.outbound.excludePorts = Array.from({ length: 1000 }, (_, i) => port(2 * i + 1));
  const rules = output(policy);
  assert.equal(rules.filter((rule) => rule.startsWith('-d 10.')).length, 5000);
  assert.equal(rules.filter((rule) => rule.includes('--dport')).length, 2 * Math.ceil(1000 / 15) + 2);
});
