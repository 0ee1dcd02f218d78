import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Bed } from '../../src/cli/demo/bed.ts';
import type { Row } from '../../src/cli/demo/row.ts';
import { runScenarios } from '../../src/cli/demo/run.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { Lab, OTHER_PORT } from '../../src/lab/lab.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';

/*
 * The demo's expectations are only worth something if the mesh's own rules meet them too. Here the same scenarios
 * run with Istio's iptables rules in the pods, and no agent.
 */
for (const sidecar of ['envoy', 'haproxy'] as const) {
  const skip = sidecar === 'envoy' && envoySkip();
  describe(`the demo's scenarios under Istio's iptables rules, with ${sidecar}`, { skip }, () => {
    const rows: Row[] = [];
    before(async () => {
      const pods = ['a', 'b'].map((name) => ({
        name,
        capture: 'iptables' as const,
        excludeOutboundPorts: [OTHER_PORT],
      }));
      await using lab = await Lab.open({ prefix: `shunt-oracle${process.pid}`, sidecar, pods });
      assert.match(await rulesOf(lab.pod('a').netns), /ISTIO_REDIRECT/);
      const bed: Bed = {
        lab,
        a: lab.pod('a'),
        b: lab.pod('b'),
        outside: lab.outside,
        backend: 'iptables',
        agent: null,
      };
      for await (const row of runScenarios(bed)) rows.push(row);
    });

    it('meet every expectation', () => {
      const failed = rows.filter(({ result }) => result === 'FAILED');
      assert.deepEqual(
        failed.map(({ scenario, failures }) => ({ scenario, failures })),
        [],
      );
      assert.ok(rows.length >= 15, `${rows.length} rows`);
    });

    it('let an app that poses as uid 1337 out, which is where Shunt differs', () => {
      const row = rows.find(({ scenario }) => scenario === 'app posing as uid 1337');
      assert.deepEqual(row?.acceptedBy, ['outside']);
    });

    it('carry every byte of a long connection over the interfaces', () => {
      const bytes = rows.find(({ scenario }) => scenario === 'long-lived')?.bytes;
      assert.ok(bytes !== null && bytes !== undefined);
      assert.ok(bytes.lo >= bytes.sent && bytes.eth0 >= bytes.sent, JSON.stringify(bytes));
    });
  });
}

function envoySkip(): string | false {
  try {
    SIDECARS.envoy.locate();
    return false;
  } catch {
    return 'there is no Envoy on this machine';
  }
}
