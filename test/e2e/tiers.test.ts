/** Each tier of the data plane, forced on this machine's kernel: two pods with real sidecars, judged by their connections. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { probeTier } from '../../src/datapath/ebpf/self_test.ts';
import { TIERS, type Tier } from '../../src/datapath/tier.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { FaultBed } from '../faults/bed.ts';

/** Chains that hold outbound rules, and what attaches inbound steering. */
const OUTBOUND = /SHUNT_OUTPUT/;
const INBOUND = /SHUNT_INBOUND/;

describe('an agent held to a tier', async () => {
  const reached = (await probeTier()).tier;
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('tier');
  });
  after(() => bed?.[Symbol.asyncDispose]());

  async function fromOutside(): Promise<string> {
    const client = await bed.lab.outside.client();
    await using connection = await client.connect({ host: bed.lab.pod('b').address(4), port: APP_PORT });
    return (await connection.who()).peer;
  }

  const rules = (): Promise<string> => rulesOf(bed.lab.pod('b').netns);

  // Up, down and up again: each takes over what the one before left in force.
  for (const tier of [3, 1, 2, 1, 0] as const satisfies Tier[]) {
    const lower = tier > reached ? `this kernel carries tier ${reached}` : false;
    it(`redirects both ways at tier ${tier}: ${TIERS[tier].name}`, { skip: lower }, async () => {
      if (tier === 0) assert.equal((await bed.cli('cleanup')).code, 0);
      const status = await bed.start('--max-tier', String(tier));
      assert.equal(status.tier.tier, tier, status.tier.limit ?? '');
      assert.equal(status.backend, tier === 0 ? 'iptables' : 'ebpf');
      assert.equal(status.acceleration.enabled, tier === 3);
      assert.deepEqual(status.pods, { enrolled: 2, left: 0, failed: 0 });
      assert.ok(await bed.redirected());
      assert.match(await fromOutside(), /^127\.0\.0\.6:/, 'the application sees its sidecar');
      const held = await rules();
      assert.deepEqual([OUTBOUND.test(held), INBOUND.test(held)], [tier === 0, tier <= 1]);
      const shown = await bed.cli('status', '-o', 'json');
      assert.deepEqual(JSON.parse(shown.stdout).tier, status.tier);
      if (tier < 3) assert.match(status.tier.limit ?? '', new RegExp(`--max-tier ${tier}$`));
      assert.deepEqual((await bed.client.reconcile()).repaired, []);
      await bed.stop();
      assert.ok(await bed.redirected(), 'without the agent');
    });
  }

  it('has the one that the kernel carries, whatever it calls itself, when eBPF is asked for', {
    skip: reached === 0,
  }, async () => {
    await bed.cli('cleanup');
    const asked = await bed.startUnder(['setarch', '--uname-2.6'], '--backend', 'ebpf');
    assert.deepEqual([asked.backend, asked.tier.tier], ['ebpf', reached]);
    await bed.stop();
    const adopting = await bed.startUnder(['setarch', '--uname-2.6']);
    assert.equal(adopting.backend, 'ebpf', 'pods that eBPF has stay with it');
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('enrolls by eBPF where user space is not told the cookie of a namespace', {
    skip: reached === 0,
  }, async () => {
    await bed.cli('cleanup');
    const deny = join(bed.lab.programs, 'deny');
    execFileSync('clang', ['-Wall', '-Werror', '-o', deny, join(import.meta.dirname, '../iptables/deny.c')]);
    const status = await bed.startUnder([deny, 'cookie'], '--backend', 'ebpf');
    assert.deepEqual([status.backend, status.tier.tier], ['ebpf', reached]);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('is refused with what the tiers are, for one that there is not', async () => {
    const wrong = await bed.refused(bed.agentArgv('--max-tier', '4'));
    assert.equal(wrong.code, 2);
    assert.match(
      wrong.stderr,
      /--max-tier.*0 \(iptables alone\).*3 \(outbound and inbound by eBPF, with accel/s,
    );
    const both = await bed.refused(bed.agentArgv('--backend', 'ebpf', '--max-tier', '0'));
    assert.equal(both.code, 2);
    assert.match(both.stderr, /--max-tier 0 leaves iptables alone.*\n?.*fix: leave one of the two out/);
  });
});
