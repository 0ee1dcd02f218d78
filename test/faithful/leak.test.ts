/** 50,000 connections, ended in every way, leave nothing in any map. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { openPinnedMap } from 'libbpf-ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { run } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { within } from '../../src/lab/topology.ts';
import { Bed } from './bed.ts';
import type { Puppet } from './puppet.ts';
import { ANY, ANYWHERE, type Family, MANY_PORTS, PORT, type Stage } from './stage.ts';

/** Fewer where the kernel is emulated. */
const TOTAL = Number(process.env.SHUNT_LEAK_CONNECTIONS ?? 50_000);
/** So few at once that no handshake is dropped for want of room in a queue. */
const BATCH = 2_000;
/** Sockets that still have something to say live on for a few retransmissions. */
const RETURN_MS = 60_000;

/**
 * How connections end, and what part of the whole ends so. In `whole` the sidecar closes first, so that the client's
 * port does not wait for a minute: connections to one destination share one range of ports.
 */
const WAYS = [
  { how: 'whole', share: 0.45, error: 'none' },
  { how: 'reset', share: 0.2, error: 'none' },
  { how: 'unspecified', share: 0.1, error: 'none' },
  { how: 'abandon', share: 0.1, error: 'EINPROGRESS' },
] as const;
const REFUSED_SHARE = 0.1;
const INBOUND_SHARE = 0.05;

interface Trace {
  /** Entries of each map that can be counted. */
  entries: Record<string, number | null>;
  /** Bytes of each map, by the kernel's own account. */
  bytes: Record<string, number>;
  /** TCP sockets of the pod: socket storage is freed with its socket. */
  sockets: number;
}

describe(`${TOTAL.toLocaleString('en-US')} connections`, () => {
  let bed: Bed;
  let stage: Stage;
  before(async () => {
    bed = await Bed.open();
    stage = bed.stage('ebpf');
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
    await bed?.[Symbol.asyncDispose]();
  });

  async function trace(): Promise<Trace> {
    const pins = new Pins(bed.bpffs);
    const bytes = pins.mapNames().map((name) => [name, memoryOf(join(pins.maps, name))] as const);
    const entries = bed.ebpf.maps().map((map) => [map.name, map.entries] as const);
    const stat = await run(within(bed.pod('ebpf'), ['cat', '/proc/net/sockstat', '/proc/net/sockstat6']));
    const inUse = [...stat.matchAll(/^TCP6?: inuse (\d+)/gm)].map(([, count]) => Number(count));
    return {
      entries: Object.fromEntries(entries),
      bytes: Object.fromEntries(bytes),
      sockets: inUse.reduce((sum, count) => sum + count, 0),
    };
  }

  /** The ends of connections outlive the calls that end them a little. */
  async function returnsTo(wanted: Trace): Promise<void> {
    let seen = await trace();
    const look = async () => {
      seen = await trace();
      return isDeepStrictEqual(seen, wanted) ? true : undefined;
    };
    await until(look, { what: 'the maps to empty', timeoutMs: RETURN_MS }).catch(() => {});
    assert.deepEqual(seen, wanted);
  }

  function counter(name: 'outboundRedirected' | 'pairLost'): bigint {
    const [pod] = bed.ebpf.pods();
    return pod?.counters[name] ?? 0n;
  }

  it('leave every map as it was, and no socket', async () => {
    const sidecar = await stage.sidecar({ brief: true });
    const app = await stage.app();
    const outsider = await stage.outsider();
    const atStart = await trace();
    const before = counter('outboundRedirected');

    for (const { how, share, error } of WAYS) {
      const done = await bursts(stage, app, how, share * TOTAL);
      assert.deepEqual([...done.errors], [error], how);
    }
    const inbound = await bursts(stage, outsider, 'whole', INBOUND_SHARE * TOTAL);
    assert.deepEqual([...inbound.errors], ['none'], 'inbound');
    await returnsTo(atStart);
    await sidecar[Symbol.asyncDispose]();
    const refused = await bursts(stage, app, 'whole', REFUSED_SHARE * TOTAL);
    assert.deepEqual([...refused.errors], ['ECONNREFUSED']);

    await using _ = await stage.sidecar({ brief: true });
    const toAnyone = stage.families.map((family) => ANYWHERE[family]);
    const { wrong, failed } = await app.quietly('crowd', 200, 4, 1, PORT.many, MANY_PORTS, ...toAnyone);
    assert.deepEqual({ wrong, failed }, { wrong: 0, failed: 0 });
    await returnsTo(atStart);
    const outbound = WAYS.reduce((sum, { share }) => sum + share, REFUSED_SHARE) * TOTAL;
    const redirected = counter('outboundRedirected') - before;
    assert.ok(redirected >= BigInt(Math.floor(outbound)), `${redirected} redirected`);
    assert.equal(counter('pairLost'), 0n);
  });

  it('that nobody answers leave nothing either', async () => {
    const sidecar = await stage.proxy('sidecar-mute');
    const app = await stage.app();
    const listener = await sidecar.listen({ family: 4, host: ANY[4], port: PORT.outbound, backlog: 0 });
    const atStart = await trace();
    const silent = await app.quietly('burst', 'abandon', Math.min(1_000, TOTAL), stage.far(4), PORT.app);
    assert.equal(silent.error, 'EINPROGRESS');
    // The one that the queue took is the listener's until it closes.
    await sidecar.must('close', listener);
    const closed: Trace = { ...atStart, sockets: atStart.sockets - 1 };
    await returnsTo(closed);
  });
});

/** Connections in batches, over the families in turn. */
async function bursts(
  stage: Stage,
  client: Puppet,
  how: string,
  count: number,
): Promise<{ errors: Set<unknown> }> {
  const errors = new Set<unknown>();
  const target = (family: Family) => (client.name === 'outsider' ? stage.pod(family) : stage.far(family));
  for (let left = Math.ceil(count), turn = 0; left > 0; left -= BATCH, turn++) {
    const family = stage.families[turn % stage.families.length] ?? 4;
    const { error } = await client.quietly('burst', how, Math.min(BATCH, left), target(family), PORT.app);
    errors.add(error);
  }
  return { errors };
}

/** `memlock` of fdinfo: what is in use since Linux 6.4, what was reserved before. */
function memoryOf(pin: string): number {
  using map = openPinnedMap(pin);
  const info = readFileSync(`/proc/self/fdinfo/${map.fd}`, 'utf8');
  return Number(/^memlock:\s*(\d+)/m.exec(info)?.[1]);
}
