/** What a person reads in `shunt policy show --rules` is what is decided, for every mesh. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { decideInOrder } from '../../src/policy/decision.ts';
import { explainPolicy } from '../../src/policy/explain.ts';
import { cases, connectionOf, policies } from '../iptables/mesh_policies.ts';
import { readRules } from './words_reader.ts';

it('the rules in words, read in their order, say what is decided for every mesh, every setting, TCP and UDP', (t) => {
  const seen = new Set<string>();
  let connections = 0;
  const agreement = fc.property(
    policies,
    fc.array(cases, { minLength: 1, maxLength: 25, size: 'max' }),
    (policy, packets) => {
      const rules = explainPolicy(policy);
      const { proxyUids, proxyGids } = policy.identity;
      const sidecar = [...proxyUids.map((id) => `uid ${id}`), ...proxyGids.map((id) => `gid ${id}`)].join(
        ' or ',
      );
      for (const connection of packets.map(connectionOf)) {
        connections++;
        const { verdict, rule } = decideInOrder(policy, connection);
        seen.add(rule);
        const said = readRules(rules, connection, sidecar, policy.loopback.localhost4);
        const expected = rules.filter((each) => each.verdict === verdict).map(({ then }) => then);
        if (verdict === 'pass') assert.equal(said, 'left alone', rule);
        else assert.ok(expected.includes(said), `${rule}: ${said}, not ${expected.join(' | ')}`);
        const known = rules.some((each) => each.direction === connection.direction && each.rule === rule);
        assert.ok(known || rule === 'udp' || rule === 'not-included', `no sentence is of ${rule}`);
      }
    },
  );
  fc.assert(agreement, { numRuns: 1500 });
  t.diagnostic(`${connections} connections, ${seen.size} rules decided`);
  assert.ok(seen.size >= 20, `only these rules decided: ${[...seen].join()}`);
});
