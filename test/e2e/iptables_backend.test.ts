/** The demo's scenarios with an agent that redirects by iptables: Shunt's rules in place of Istio's own. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { AgentProcess } from '../../src/cli/demo/agent_process.ts';
import type { Bed } from '../../src/cli/demo/bed.ts';
import { removeAgentRules } from '../../src/cli/demo/pins.ts';
import type { Row } from '../../src/cli/demo/row.ts';
import { runScenarios } from '../../src/cli/demo/run.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { Lab, OTHER_PORT } from '../../src/lab/lab.ts';
import { CLI } from '../fixtures/cli.ts';

/** How the agent comes to iptables: asked for, or by itself on a kernel that it finds too old. */
const WAYS = [
  { way: 'asked for', cli: CLI, backend: 'iptables', reason: /^asked for with --backend$/ },
  {
    way: 'chosen on a kernel older than 5.7',
    cli: ['setarch', '--uname-2.6', ...CLI],
    backend: undefined,
    reason: /^the kernel is 2\.6\.\d+.*, and eBPF needs 5\.7$/,
  },
] as const;

for (const [index, { way, cli, backend, reason }] of WAYS.entries()) {
  describe(`the demo's scenarios with the iptables backend, ${way}`, () => {
    const rows: Row[] = [];
    let told = '';
    let remains = '';
    before(async () => {
      const pods = ['a', 'b'].map((name) => ({
        name,
        capture: 'shunt' as const,
        excludeOutboundPorts: name === 'a' ? [OTHER_PORT] : [],
      }));
      await using lab = await Lab.open({
        prefix: `shunt-ib${index}${process.pid}`,
        sidecar: 'haproxy',
        pods,
      });
      const [socket, bpffs] = [join(lab.folder, 'agent.sock'), join(lab.folder, 'no-bpffs')];
      await using agent = await AgentProcess.start({ cli, lab, socket, bpffs, backend });
      told = (await agent.client.status()).backendReason;
      const bed: Bed = {
        lab,
        a: lab.pod('a'),
        b: lab.pod('b'),
        outside: lab.outside,
        backend: 'iptables',
        agent,
      };
      for await (const row of runScenarios(bed)) rows.push(row);
      await removeAgentRules(lab, { cli: CLI, socket, bpffs });
      for (const pod of lab.pods.values()) remains += await rulesOf(pod.netns);
      assert.equal(existsSync(bpffs), false, 'nothing was pinned');
    });

    it('say why the agent has this backend', () => assert.match(told, reason));

    it('meet every expectation', () => {
      const failed = rows.filter(({ result }) => result === 'FAILED');
      assert.deepEqual(
        failed.map(({ scenario, failures }) => ({ scenario, failures })),
        [],
      );
      assert.ok(rows.length >= 24, `${rows.length} rows`);
    });

    it('let an app that poses as uid 1337 out, as iptables does', () => {
      const row = rows.find(({ scenario }) => scenario === 'app posing as uid 1337');
      assert.deepEqual(row?.acceptedBy, ['outside']);
    });

    it('go on without the agent, and its successor adopts both pods', () => {
      for (const name of [
        'agent killed, to b',
        'agent killed, to outside',
        'no agent, out',
        'no agent, in',
      ]) {
        assert.equal(rows.find(({ scenario }) => scenario === name)?.result, 'ok', name);
      }
      const restarted = rows.find(({ scenario }) => scenario === 'agent restarted');
      assert.match(restarted?.explanation ?? '', /adopted 2 pods with their rules as they stood; no drift/);
    });

    it('leave no chain of ours in a pod', () => assert.doesNotMatch(remains, /SHUNT_/));
  });
}
