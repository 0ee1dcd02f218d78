/** The canary stands between a kernel, or a program, that cannot accelerate rightly and the connections of the node. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TUNING } from '../../src/datapath/ebpf/accelerator.ts';
import { runCanary } from '../../src/datapath/ebpf/canary.ts';
import { builtObjects } from '../../src/datapath/ebpf/compile.ts';
import { FaultBed } from '../faults/bed.ts';
import { runCli } from '../fixtures/cli.ts';
import { accelerated } from './counted.ts';
import { rebuilt } from './naive.ts';

describe('the canary', () => {
  it('finds the programs fit that are shipped, item by item', async () => {
    const { items, sidecars } = await runCanary(builtObjects(), TUNING);
    assert.deepEqual(
      items.filter(({ needed, fault }) => needed === 'all' && fault !== null),
      [],
    );
    assert.equal(sidecars, true);
    for (const name of ['order', 'bound', 'wake-ups', 'unread bytes', 'half close', 'reset', 'splice']) {
      assert.ok(
        items.some((item) => item.name === name),
        name,
      );
    }
  });

  it('finds that the ends of a pod divide among them what may wait in it', async () => {
    const ends = 2 * (await runCanary(builtObjects(), TUNING)).items.length;
    const { items } = await runCanary(builtObjects(), { ...TUNING, pod_backlog_bytes: ends * 20_000 });
    assert.equal(items.find(({ name }) => name === 'bound')?.fault, null);
    // Less for each than a message has: nothing is redirected any more.
    const { sidecars } = await runCanary(builtObjects(), { ...TUNING, pod_backlog_bytes: ends * 50 });
    assert.equal(sidecars, false);
  });

  it('leaves every file and namespace of the process as it was', async () => {
    const state = (): string[] => [
      readlinkSync('/proc/thread-self/ns/net'),
      String(readdirSync('/proc/self/fd').length),
    ];
    await runCanary(builtObjects(), TUNING);
    const before = state();
    await runCanary(builtObjects(), TUNING);
    assert.deepEqual(state(), before);
  });
});

describe('shunt doctor --canary', () => {
  it('tells of every item, and only warns of what costs acceleration', async () => {
    const { stdout } = await runCli(['doctor', '--canary', '-o', 'json']);
    const findings: { check: string; level: string }[] = JSON.parse(stdout);
    const canary = findings.filter(({ check }) => check.startsWith('canary: '));
    assert.ok(canary.some(({ check, level }) => check === 'canary: order' && level === 'ok'));
    assert.ok(canary.every(({ level }) => level !== 'fail'));
  });
});

describe('an agent whose canary fails', () => {
  let folder: string;
  let bed: FaultBed;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shunt-canary-'));
    bed = await FaultBed.open('canary', { program: await rebuilt(folder, ['SHUNT_NAIVE']) });
  });
  after(async () => {
    await bed?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it('redirects all the same, leaves acceleration off, and says why in status and log', async () => {
    const { acceleration } = await bed.start();
    assert.equal(acceleration.enabled, false);
    assert.match(acceleration.reason, /the canary failed: .*order: /);
    assert.ok(acceleration.canary?.some(({ name, fault }) => name === 'order' && fault !== null));
    const ready = bed.log().find(({ event }) => event === 'ready');
    assert.match(JSON.stringify(ready), /the canary failed/);
    assert.ok(await bed.redirected());
    assert.equal(await accelerated(bed), 0n);
  });

  it('is not talked into it by the switch', async () => {
    const { enabled, reason } = await bed.client.setAcceleration(true);
    assert.equal(enabled, false);
    assert.match(reason, /the canary failed/);
  });
});
