/** Who enters the sockhash, who leaves it again, and what looking costs. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openPinnedMap } from 'libbpf-ts';
import * as v from 'valibot';
import { readWalks } from '../../src/datapath/ebpf/inspect.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { FaultBed } from '../faults/bed.ts';
import { annotate } from './annotation.ts';
import { accelerated } from './counted.ts';
import { Player, seedOf } from './player.ts';

const FLOW = v.object({ state: v.string() });
const CONNECTIONS = 4;
/** Ends of a connection from pod to pod: of two applications, and two each of the sidecars. */
const ENDS = 6;

/** Waits for so many walks over the connections. */
async function walks(bed: FaultBed, count: number): Promise<void> {
  const start = readWalks(bed.bpffs);
  await until(() => (readWalks(bed.bpffs) >= start + count ? true : undefined), {
    what: `${count} walks`,
    timeoutMs: 30_000,
    everyMs: 20,
  });
}

it('walks once a second when no connection is young, though one end of some would be fit', async () => {
  await using bed = await FaultBed.open('pace');
  await bed.start();
  const client = await bed.lab.pod('a').client();
  await using connection = await client.connect({ host: bed.lab.pod('b').address(4), port: APP_PORT });
  await connection.exchange(20, 100);
  // Four a second at most: the connection is older than five seconds then.
  await walks(bed, 22);
  const startMs = performance.now();
  await walks(bed, 12);
  // A busy machine makes it more, never less.
  assert.ok(performance.now() - startMs > 10_000, `12 walks in ${performance.now() - startMs} ms`);
  await connection.exchange(5, 100);
});

describe('promotion, where the pods opted in for their applications', () => {
  let bed: FaultBed;
  let player: Player;
  before(async () => {
    bed = await FaultBed.open('promotion');
    await bed.start();
    await annotate(bed, 'full');
    player = await Player.start(bed.lab, bed.lab.pod('a'), bed.lab.pod('b'));
  });
  after(async () => {
    await player?.[Symbol.asyncDispose]();
    await bed?.[Symbol.asyncDispose]();
  });

  /** Ends that are in the sockhash and are being redirected to. */
  function promoted(): number {
    using flows = openPinnedMap(new Pins(bed.bpffs).map('flows'));
    return [...flows.entries()].filter(([, flow]) => v.parse(FLOW, flow).state === 'FLOW_PROMOTED').length;
  }

  const reaches = (count: number): Promise<number> =>
    until(() => (promoted() === count ? count : undefined), {
      what: `${count} promoted sockets`,
      timeoutMs: 20_000,
      everyMs: 50,
    });

  async function mostWhile(playing: Promise<unknown>): Promise<number> {
    let most = 0;
    let over = false;
    void playing.finally(() => {
      over = true;
    });
    while (!over) {
      most = Math.max(most, promoted());
      await delay(50);
    }
    return most;
  }

  it('takes up every end, lets those go that turn blocking, and loses no byte by it', async () => {
    const playing = player.play([{ scenario: 'turned', count: CONNECTIONS }], seedOf('turned'));
    await reaches(ENDS * CONNECTIONS);
    // What is left: between the sidecars, which know nothing of it.
    await reaches(2 * CONNECTIONS);
    assert.deepEqual([...(await playing).keys()].sort(), ['turned client: ok', 'turned server: ok']);
  });

  it('leaves applications to TCP that are polled edge-triggered, though their pods opted in', async () => {
    const playing = player.play([{ scenario: 'edge-lasting', count: CONNECTIONS }], seedOf('edge'));
    const most = await mostWhile(playing);
    assert.deepEqual([...(await playing).keys()].sort(), [
      'edge-lasting client: ok',
      'edge-lasting server: ok',
    ]);
    assert.equal(most, 2 * CONNECTIONS, 'those of the sidecars with one another');
  });

  it('leaves a connection to TCP that has had urgent data, and no other', async () => {
    const playing = player.play([{ scenario: 'urgent-lasting', count: CONNECTIONS }], seedOf('urgent'));
    assert.equal(await mostWhile(playing), 4 * CONNECTIONS, 'all but those of the application that sent it');
    assert.deepEqual([...(await playing).keys()].sort(), [
      'urgent-lasting client: ok',
      'urgent-lasting server: ok',
    ]);
  });

  it('leaves sidecars to TCP that are not polled as Envoy is, unless their pods vouch for them', async () => {
    await annotate(bed, 'auto');
    await reaches(0);
    const playing = player.play([{ scenario: 'lasting', count: CONNECTIONS }], seedOf('unvouched'));
    assert.equal(await mostWhile(playing), 0);
    assert.deepEqual([...(await playing).keys()].sort(), ['lasting client: ok', 'lasting server: ok']);
    await annotate(bed, 'full');
  });

  it('does not take up blocking sockets, nor connections that end soon', async () => {
    await reaches(0);
    const before = await accelerated(bed);
    const seen = await player.play([{ scenario: 'brief', count: 200 }], seedOf('brief'));
    assert.deepEqual([...seen.keys()].sort(), ['brief client: ok', 'brief server: ok']);
    assert.equal(await accelerated(bed), before);
    assert.equal(promoted(), 0);
  });

  it('lets connections go whose sender runs far ahead of its reader', async () => {
    const playing = player.play([{ scenario: 'flood', count: CONNECTIONS }], seedOf('flood'), { cuts: true });
    const leaving = async (): Promise<true | undefined> => {
      const { stdout } = await bed.cli('map', 'dump', 'flows', '-o', 'json');
      return stdout.includes('FLOW_LEAVING') ? true : undefined;
    };
    await until(leaving, { what: 'a socket to leave', timeoutMs: 20_000, everyMs: 20 });
    await playing;
    await player.play([{ scenario: 'release', count: 1 }], 1);
  });

  it('keeps idle connections, and serves them when they speak again', async () => {
    const client = await bed.lab.pod('a').client();
    await using connection = await client.connect({ host: bed.lab.pod('b').address(4), port: APP_PORT });
    const served = async (): Promise<true | undefined> => {
      const before = await accelerated(bed);
      await connection.exchange(10, 500);
      return (await accelerated(bed)) > before ? true : undefined;
    };
    await until(served, { what: 'messages to be redirected', timeoutMs: 20_000, everyMs: 50 });
    await walks(bed, 4);
    const before = await accelerated(bed);
    await connection.exchange(10, 500);
    assert.ok((await accelerated(bed)) >= before + 20n);
  });
});
