/** Every byte through real sidecars, in all the ways programs use sockets: accelerated exactly as plain. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FaultBed } from '../faults/bed.ts';
import { accelerated, redirecting } from './counted.ts';
import { rebuilt } from './naive.ts';
import { kinds, planOf, unexpected, wrong } from './plan.ts';
import { type Observations, Player, seedOf } from './player.ts';

/** The bounded form; `npm run test:integrity` plays more, longer. */
const PLAN = planOf(2, 'haproxy');
const SEED = seedOf(process.env.SHUNT_INTEGRITY_SEED ?? 'bounded');
const NAIVE_PLAYS = 8;
const BLIND_CANARY = `export const runCanary = async () =>
  ({ items: [], sidecars: true, applications: true, peerSeq: true });
`;

describe(`integrity (seed ${SEED})`, () => {
  let bed: FaultBed;
  let player: Player;
  let plain: Observations;
  before(async () => {
    bed = await FaultBed.open('integrity');
    await bed.start('--acceleration', 'off');
    player = await Player.start(bed.lab, bed.lab.pod('a'), bed.lab.pod('b'));
  });
  after(async () => {
    await player?.[Symbol.asyncDispose]();
    await bed?.[Symbol.asyncDispose]();
  });

  it('holds without acceleration: no byte wrong, no wake-up lost', async () => {
    plain = await player.play(PLAN.parts, SEED);
    assert.deepEqual(wrong(plain), []);
    assert.equal(await accelerated(bed), 0n);
  });

  it('sees the same with acceleration, while messages are being redirected', async () => {
    await bed.client.setAcceleration(true);
    const seen = await player.play(PLAN.parts, SEED);
    assert.deepEqual(unexpected(seen, plain), []);
    assert.deepEqual(kinds(seen), kinds(plain));
    assert.ok((await accelerated(bed)) > 1000n, `${await accelerated(bed)} messages`);
  });

  it('loses nothing while the kill switch is turned and the agent is killed and started again', async () => {
    const before = await accelerated(bed);
    const playing = player.play(PLAN.lasting, SEED);
    await redirecting(bed, before + 100n);
    for (let turn = 0; turn < 20; turn++) await bed.client.setAcceleration(turn % 2 === 1);
    await bed.stop('SIGKILL');
    await bed.start();
    await bed.stop();
    await bed.start();
    const seen = await playing;
    assert.deepEqual(
      [...seen.keys()].filter((what) => !what.endsWith(': ok')),
      [],
    );
  });

  it('shows cut connections and never a wrong byte when a sidecar is stopped under them', async () => {
    const playing = player.play(PLAN.lasting, SEED, { cuts: true });
    const before = await accelerated(bed);
    await redirecting(bed, before + 100n);
    await bed.lab.pod('b').sidecar.stop();
    const seen = await playing;
    await bed.lab.pod('b').sidecar.start();
    assert.deepEqual(wrong(seen), []);
    assert.ok(seen.has('lasting client: cut'), kinds(seen).join('; '));
  });
});

describe('integrity, with a gate that lets everything through', () => {
  let folder: string;
  let bed: FaultBed;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shunt-naive-'));
    // Its canary finds it out at once, and would keep it off.
    const blind = { 'src/datapath/ebpf/canary.ts': BLIND_CANARY };
    bed = await FaultBed.open('naive', { program: await rebuilt(folder, ['SHUNT_NAIVE'], blind) });
    await bed.start();
  });
  after(async () => {
    await bed?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it('fails: the suite can', async () => {
    await using player = await Player.start(bed.lab, bed.lab.pod('a'), bed.lab.pod('b'));
    let seen = await player.play([{ scenario: 'stalled', count: 6 }], SEED);
    // A play may be over before the agent has looked at its connections.
    for (let play = 1; play < NAIVE_PLAYS && wrong(seen).length === 0; play++) {
      seen = await player.play([{ scenario: 'stalled', count: 6 }], SEED + play);
    }
    assert.ok((await accelerated(bed)) > 0n);
    assert.ok(wrong(seen).length > 0, `it saw only: ${kinds(seen).join('; ')}`);
  });
});
