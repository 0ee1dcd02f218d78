/** A reader that stops: what its sender may still send, and what that costs the node, are as without acceleration. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BACKLOG_BYTES } from '../../src/datapath/ebpf/accelerator.ts';
import { run } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { FaultBed } from '../faults/bed.ts';
import { accelerated } from './counted.ts';
import { Player } from './player.ts';

const PAGE_BYTES = 4096;
const SAMPLE_MS = 100;
/** A stalled reader takes at most this many times what it takes over plain TCP. */
const MOST_RATIO = 1.2;
/**
 * tcp_rmem as it was until Linux 6.16 raised its last number to 32 MiB. How far a buffer grows into that depends on how
 * fast its reader was before it stopped, on either path: 11 to 44 MiB were seen over plain TCP.
 */
const RECEIVE_BYTES = '4096 131072 6291456';
/** Redirected by default, at most: application to sidecar, and sidecar to sidecar. */
const HOPS = 2;
/** Pages that a message holds and does not fill. */
const OVERHEAD = 2;
/** Other traffic of the machine. */
const SLACK_BYTES = 16 * 2 ** 20;

interface Flooded {
  /** Bytes accepted of one connection, on the average. */
  accepted: number;
  /** Most that the node's TCP sockets held, in bytes. */
  memory: number;
  redirected: number;
  refusals: string[];
}

/** Memory of all TCP sockets of the node; the kernel counts it in pages. */
function tcpMemory(): number {
  const [, pages] = /^TCP:.* mem (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'utf8')) ?? [];
  return Number(pages) * PAGE_BYTES;
}

/** Of the middle run, and the most of any. */
function summary(runs: readonly Flooded[], field: 'accepted' | 'memory' | 'redirected'): [number, number] {
  const values = runs.map((run) => run[field]).sort((a, b) => a - b);
  return [values[values.length >> 1] ?? Number.NaN, values.at(-1) ?? Number.NaN];
}

function row(name: string, runs: readonly Flooded[]): string {
  const megabytes = (field: 'accepted' | 'memory'): string =>
    summary(runs, field)
      .map((bytes) => (bytes / 2 ** 20).toFixed(1).padStart(8))
      .join('');
  return `  ${name.padEnd(12)}${megabytes('accepted')}${megabytes('memory')}${String(summary(runs, 'redirected')[0]).padStart(9)}\n`;
}

describe('a stalled reader', () => {
  let bed: FaultBed;
  let player: Player;
  before(async () => {
    bed = await FaultBed.open('stalled');
    await bed.start();
    for (const pod of bed.lab.pods.values()) {
      await run([
        'nsenter',
        `--net=${pod.netns.path}`,
        'sh',
        '-c',
        `echo ${RECEIVE_BYTES} >/proc/sys/net/ipv4/tcp_rmem`,
      ]);
    }
    player = await Player.start(bed.lab, bed.lab.pod('a'), bed.lab.pod('b'));
  });
  after(async () => {
    await player?.[Symbol.asyncDispose]();
    await bed?.[Symbol.asyncDispose]();
  });

  async function flood(count: number, acceleration: boolean): Promise<Flooded> {
    await bed.client.setAcceleration(acceleration);
    const before = { memory: tcpMemory(), redirected: await accelerated(bed) };
    const sampling = new AbortController();
    let memory = 0;
    const sampled = (async () => {
      while (!sampling.signal.aborted) {
        memory = Math.max(memory, tcpMemory() - before.memory);
        await delay(SAMPLE_MS);
      }
    })();
    const seen = await player.play([{ scenario: 'flood', count }], 1, { cuts: true });
    sampling.abort();
    await sampled;
    await player.play([{ scenario: 'release', count: 1 }], 1);
    const settled = (): true | undefined => (tcpMemory() <= before.memory + SLACK_BYTES ? true : undefined);
    await until(settled, { what: 'the buffers to be freed' });
    let [bytes, connections] = [0, 0];
    const refusals: string[] = [];
    for (const [what, times] of seen) {
      const [, accepted] = /^flood client: accepted (\d+)$/.exec(what) ?? [];
      if (accepted === undefined) refusals.push(what);
      else [bytes, connections] = [bytes + Number(accepted) * times, connections + times];
    }
    const redirected = Number((await accelerated(bed)) - before.redirected);
    return { accepted: bytes / connections, memory, redirected, refusals };
  }

  // What TCP's own buffers grow to differs from run to run: over plain TCP, a single connection took 10 to 18 MiB.
  for (const [count, atLeast, atMost] of [
    [1, 3, 9],
    [100, 1, 1],
  ] as const) {
    it(`is sent no more over ${count} accelerated connections, and no send fails`, async () => {
      const [plain, fast]: [Flooded[], Flooded[]] = [[], []];
      let ratio = Number.POSITIVE_INFINITY;
      while (plain.length < atLeast || (plain.length < atMost && ratio > MOST_RATIO)) {
        plain.push(await flood(count, false));
        fast.push(await flood(count, true));
        ratio = summary(fast, 'accepted')[0] / summary(plain, 'accepted')[1];
      }
      process.stdout.write(
        [
          `${count} connections, ${plain.length} runs: MiB accepted of each (middle, most), MiB of TCP memory, messages redirected\n`,
          row('plain', plain),
          row('accelerated', fast),
          `  ratio ${ratio.toFixed(2)} of the most that plain took, at most ${MOST_RATIO}\n`,
        ].join(''),
      );
      assert.deepEqual(
        [...plain, ...fast].flatMap(({ refusals }) => refusals),
        [],
      );
      assert.equal(summary(plain, 'redirected')[1], 0);
      assert.ok(summary(fast, 'redirected')[0] > 0);
      assert.ok(ratio <= MOST_RATIO, `${ratio}`);
      const most = summary(plain, 'memory')[1] + count * HOPS * BACKLOG_BYTES * OVERHEAD + SLACK_BYTES;
      assert.ok(summary(fast, 'memory')[1] <= most, `${summary(fast, 'memory')[1]}, bound ${most}`);
    });
  }
});
