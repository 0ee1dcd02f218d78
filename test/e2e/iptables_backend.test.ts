/** The demo's scenarios with an agent that redirects by iptables: Shunt's rules in place of Istio's own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { testBpffs } from '../fixtures/bpffs.ts';
import { CLI } from '../fixtures/cli.ts';
import { inUserNamespace } from '../fixtures/user_namespace.ts';
import { type Outcome, runWay, type Way } from './iptables_way.ts';

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
const WAYS: readonly { way: string; run(place: Place): Promise<Outcome>; reason: RegExp }[] = [
  {
    way: 'asked for',
    run: (place) => runWay({ ...place, cli: CLI, backend: 'iptables' }),
    reason: /^asked for with --backend$/,
  },
  {
    way: 'chosen on a kernel that calls itself Linux 2.6',
    run: (place) => runWay({ ...place, cli: ['setarch', '--uname-2.6', ...CLI] }),
    reason: /^Linux 2\.6\.\S+ is older than 5\.7;/,
  },
  {
    way: 'chosen on a kernel without bpf_link',
    run: (place) => runWay({ ...place, cli: [DENY, 'link', ...CLI] }),
    reason: /^eBPF cannot be used: .*\[SHUNT_E_ATTACH\]$/,
  },
  {
    way: 'chosen where the kernel denies eBPF',
    run: (place) => runWay({ ...place, cli: [DENY, 'bpf', ...CLI] }),
    reason: /^eBPF cannot be used: .*\[SHUNT_E_BPF_DENIED\]$/,
  },
  {
    // Of all capabilities none holds outside, CAP_BPF and CAP_SYS_ADMIN among them: bpf(2) asks for them there, and
    // entering the pods, and their iptables, do not.
    way: 'chosen without capabilities outside a user namespace, as in rootless Kubernetes',
    run: async ({ prefix, bpffs: path }) => {
      const program = join(import.meta.dirname, 'iptables_way.ts');
      const { code, stdout, stderr } = await inUserNamespace([
        ...[process.execPath, '--conditions=source', program],
        ...[prefix, path],
      ]);
      assert.equal(code, 0, stderr);
      return JSON.parse(stdout);
    },
    reason: /^eBPF cannot be used: .*\[SHUNT_E_BPF_DENIED\]$/,
  },
];
type Place = Pick<Way, 'prefix' | 'bpffs'>;

for (const [index, { way, run, reason }] of WAYS.entries()) {
  describe(`the demo's scenarios with the iptables backend, ${way}`, () => {
    let outcome: Outcome;
    const row = (name: string) => outcome.rows.find(({ scenario }) => scenario === name);
    before(async () => {
      outcome = await run({ prefix: `shunt-ib${index}${process.pid}`, bpffs: bpffs.path });
    });

    it('say why the agent has this backend', () => assert.match(outcome.told, reason));

    it('meet every expectation', () => {
      const failed = outcome.rows.filter(({ result }) => result === 'FAILED');
      assert.deepEqual(
        failed.map(({ scenario, failures }) => ({ scenario, failures })),
        [],
      );
      assert.ok(outcome.rows.length >= 24, `${outcome.rows.length} rows`);
    });

    it('let an app that poses as uid 1337 out, as iptables does', () => {
      assert.deepEqual(row('app posing as uid 1337')?.acceptedBy, ['outside']);
    });

    it('are explained by the policy that the agent holds', () => {
      const { code, stdout, stderr } = outcome.explained;
      assert.equal(code, 0, stderr);
      const [{ verdict, rule, notes }] = JSON.parse(stdout);
      assert.deepEqual([verdict, rule, notes], ['pass', 'excluded-port', []]);
    });

    it('go on without the agent, and its successor adopts both pods', () => {
      for (const name of [
        'agent killed, to b',
        'agent killed, to outside',
        'no agent, out',
        'no agent, in',
      ]) {
        assert.equal(row(name)?.result, 'ok', name);
      }
      assert.match(
        row('agent restarted')?.explanation ?? '',
        /adopted 2 pods with their rules as they stood; no drift/,
      );
    });

    it('pin nothing, and leave no chain of ours in a pod', () => {
      assert.doesNotMatch(outcome.remains, /SHUNT_/);
      assert.deepEqual(outcome.pinned, []);
    });
  });
}
