/** Accelerated connections carry every byte in order, whatever is switched while they do. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Connection } from '../../src/lab/client.ts';
import { until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { FaultBed } from './bed.ts';

const CONNECTIONS = 8;
/** Around what is redirected: a byte, a segment, the longest redirected message, more than the backlog allows. */
const SIZES = [1, 64, 1_400, 4_096, 20_000, 65_536, 65_537, 400_000];

describe('acceleration', () => {
  let bed: FaultBed;
  /** Of each connection, once it is promoted: the sidecar's towards the other; where applications may, all three. */
  let socketsPerPod: number;
  before(async () => {
    bed = await FaultBed.open('accel');
    const { acceleration } = await bed.start();
    assert.ok(acceleration.enabled, acceleration.reason);
    assert.ok(acceleration.canary);
    const apart = acceleration.canary.some(
      ({ needed, fault }) => needed === 'applications' && fault !== null,
    );
    socketsPerPod = apart ? 1 : 3;
  });
  after(() => bed?.[Symbol.asyncDispose]());

  async function counter(pod: string, name: string): Promise<bigint> {
    const pods = await bed.client.pods();
    return pods.find((report) => report.name === pod)?.held?.counters[name] ?? 0n;
  }

  /** Small requests until messages are being redirected on the app's side and between the sidecars. */
  async function warm(connections: Connection[]): Promise<void> {
    const before = [await counter('pod-a', 'promoted'), await counter('pod-b', 'promoted')];
    await until(
      async () => {
        await Promise.all(connections.map((connection) => connection.exchange(5, 100)));
        const now = [await counter('pod-a', 'promoted'), await counter('pod-b', 'promoted')];
        const all = BigInt(socketsPerPod * connections.length);
        return now.every((count, pod) => count - (before[pod] ?? 0n) >= all) ? true : undefined;
      },
      { what: 'connections to be promoted', timeoutMs: 60_000, everyMs: 50 },
    );
  }

  async function open(): Promise<Connection[]> {
    const client = await bed.lab.pod('a').client();
    const target = { host: bed.lab.pod('b').address(4), port: APP_PORT };
    return Promise.all(Array.from({ length: CONNECTIONS }, () => client.connect(target)));
  }

  it('redirects the messages of long-lived request/response connections, between pods without touching eth0', async () => {
    const connections = await open();
    await warm(connections);
    const redirected = await counter('pod-a', 'acceleratedMessages');
    const wire = bed.lab.pod('a').bytes().eth0;
    const [requests, bytes] = [100, 1_000];
    await Promise.all(connections.map((connection) => connection.exchange(requests, bytes)));
    const crossed = bed.lab.pod('a').bytes().eth0 - wire;
    assert.ok((await counter('pod-a', 'acceleratedMessages')) >= redirected + BigInt(CONNECTIONS * requests));
    assert.ok(crossed < (CONNECTIONS * requests * bytes) / 10, `${crossed} bytes crossed eth0`);
    await Promise.all(connections.map((connection) => connection.close()));
  });

  it('keeps bytes and order of mixed sizes, from one byte to far more than may wait', async () => {
    const connections = await open();
    await warm(connections);
    for (let round = 0; round < 4; round++) {
      for (const size of SIZES) {
        // Compared byte by byte by the client.
        await Promise.all(connections.map((connection) => connection.exchange(3, size)));
      }
    }
    await Promise.all(connections.map((connection) => connection.close()));
  });

  it('loses nothing when it is switched off and on under traffic, and redirects nothing while off', async () => {
    const connections = await open();
    await warm(connections);
    const traffic = Promise.all(connections.map((connection) => connection.exchange(2_000, 500)));
    for (let turn = 0; turn < 10; turn++) await bed.client.setAcceleration(turn % 2 === 1);
    await traffic;
    await bed.client.setAcceleration(false);
    const before = await counter('pod-a', 'acceleratedMessages');
    await Promise.all(connections.map((connection) => connection.exchange(50, 500)));
    assert.equal(await counter('pod-a', 'acceleratedMessages'), before);
    await bed.client.setAcceleration(true);
    await Promise.all(connections.map((connection) => connection.exchange(50, 500)));
    assert.ok((await counter('pod-a', 'acceleratedMessages')) > before);
    await Promise.all(connections.map((connection) => connection.close()));
  });

  it('survives the agent: connections promoted before go on, and those after are plain', async () => {
    const connections = await open();
    await warm(connections);
    await bed.stop('SIGKILL');
    await Promise.all(connections.map((connection) => connection.exchange(200, 1_000)));
    await bed.start();
    await Promise.all(connections.map((connection) => connection.exchange(200, 1_000)));
    await Promise.all(connections.map((connection) => connection.close()));
  });

  it('leaves nothing in the maps once the connections are closed', async () => {
    const leftovers = async (): Promise<string[] | undefined> => {
      const { maps } = await bed.client.status();
      const transient = maps.filter(({ name }) => ['pairs', 'offers', 'peers', 'flows'].includes(name));
      assert.equal(transient.length, 4);
      return transient.every(({ entries }) => entries === 0) ? [] : undefined;
    };
    await until(leftovers, { what: 'maps to be empty', timeoutMs: 30_000, everyMs: 50 });
  });
});
