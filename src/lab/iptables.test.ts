import assert from 'node:assert/strict';
import { it } from 'node:test';
import { istioRules } from './iptables.ts';

it('writes the rules of a default Istio pod in the order that Istio gives them', () => {
  const output = istioRules({ family: 4 })
    .split('\n')
    .filter((rule) => rule.startsWith('-A ISTIO_OUTPUT'));
  assert.deepEqual(output, [
    '-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN',
    '-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT',
    '-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN',
    '-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN',
    '-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT',
    '-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN',
    '-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN',
    '-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN',
    '-A ISTIO_OUTPUT -j ISTIO_REDIRECT',
  ]);
});

it('puts excluded outbound ports before everything else, for both protocols', () => {
  const [first, second] = istioRules({ family: 6, excludeOutboundPorts: [9999] })
    .split('\n')
    .filter((rule) => rule.startsWith('-A ISTIO_OUTPUT'));
  assert.equal(first, '-A ISTIO_OUTPUT -p tcp -m tcp --dport 9999 -j RETURN');
  assert.equal(second, '-A ISTIO_OUTPUT -p udp -m udp --dport 9999 -j RETURN');
});

it('uses ::1 and ::6 in the IPv6 document', () => {
  const rules = istioRules({ family: 6 });
  assert.match(rules, /-s ::6\/128 -o lo -j RETURN/);
  assert.match(rules, /! -d ::1\/128 -o lo/);
  assert.doesNotMatch(rules, /127\.0\.0/);
});
