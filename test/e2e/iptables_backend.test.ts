/** The demo's scenarios with an agent that redirects by iptables: Shunt's rules in place of Istio's own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { AgentProcess } from '../../src/cli/demo/agent_process.ts';
import type { Bed } from '../../src/cli/demo/bed.ts';
import { removeAgentRules } from '../../src/cli/demo/pins.ts';
import type { Row } from '../../src/cli/demo/row.ts';
import { runScenarios } from '../../src/cli/demo/run.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { Lab, OTHER_PORT } from '../../src/lab/lab.ts';
import { testBpffs } from '../fixtures/bpffs.ts';
import { CLI, type CliResult, runCli } from '../fixtures/cli.ts';

/** Built for these tests: runs a program without bpf(2), as a container runtime's seccomp profile does. */
const folder = mkdtempSync(join(tmpdir(), 'shunt-deny-'));
const DENY = join(folder, 'deny');
const bpffs = testBpffs();
before(() => {
  execFileSync('clang', ['-Wall', '-Werror', '-o', DENY, join(import.meta.dirname, '../iptables/deny.c')]);
});
after(() => {
  bpffs[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** How the agent comes to iptables: asked for, or by itself where eBPF cannot run. */
const WAYS = [
  { way: 'asked for', cli: CLI, backend: 'iptables', reason: /^asked for with --backend$/ },
  {
    way: 'chosen on a kernel without bpf_link',
    cli: [DENY, 'link', ...CLI],
    backend: undefined,
    reason: /^eBPF cannot be used: .*\[SHUNT_E_ATTACH\]$/,
  },
  {
    way: 'chosen where the kernel denies eBPF',
    cli: [DENY, 'bpf', ...CLI],
    backend: undefined,
    reason: /^eBPF cannot be used: .*\[SHUNT_E_BPF_DENIED\]$/,
  },
] as const;

for (const [index, { way, cli, backend, reason }] of WAYS.entries()) {
  describe(`the demo's scenarios with the iptables backend, ${way}`, () => {
    const rows: Row[] = [];
    let told = '';
    let explained: CliResult | undefined;
    let remains = '';
    const pinned: string[] = [];
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
      const socket = join(lab.folder, 'agent.sock');
      await using agent = await AgentProcess.start({ cli, lab, socket, bpffs: bpffs.path, backend });
      told = (await agent.client.status()).backendReason;
      explained = await runCli(
        ['explain', 'pod-a', '--to', `${lab.outside.address(4)}:${OTHER_PORT}`, '--uid', '1000'].concat([
          '--socket',
          socket,
          '-o',
          'json',
        ]),
      );
      const bed: Bed = {
        lab,
        a: lab.pod('a'),
        b: lab.pod('b'),
        outside: lab.outside,
        backend: 'iptables',
        agent,
      };
      for await (const row of runScenarios(bed)) rows.push(row);
      const pins = new Pins(bpffs.path);
      pinned.push(...pins.mapNames(), ...pins.linkNames());
      await removeAgentRules(lab, { cli: CLI, socket, bpffs: bpffs.path });
      for (const pod of lab.pods.values()) remains += await rulesOf(pod.netns);
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

    it('are explained by the policy that the agent holds', () => {
      assert.equal(explained?.code, 0, explained?.stderr);
      const [{ verdict, rule, notes }] = JSON.parse(explained?.stdout ?? '[{}]');
      assert.deepEqual([verdict, rule, notes], ['pass', 'excluded-port', []]);
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

    it('pin nothing, and leave no chain of ours in a pod', () => {
      assert.doesNotMatch(remains, /SHUNT_/);
      assert.deepEqual(pinned, []);
    });
  });
}
