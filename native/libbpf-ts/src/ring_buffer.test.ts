import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Event, EventCodec, everything } from '../test/gen/everything.ts';
import { loadEverything } from '../test/loaded.ts';
import { objectFile } from '../test/objects.ts';
import { connectFrom, listen, makeCgroup } from '../test/place.ts';
import { codec } from './codec.ts';
import { Link } from './link.ts';

/** A program that sends `burst` events and one more for each connection out of a cgroup of ours. */
async function source(burst = 0) {
  await using stack = new AsyncDisposableStack();
  const cgroup = stack.use(makeCgroup());
  const server = stack.use(await listen());
  using open = everything.open({ file: objectFile('everything') });
  open.rodata.burst = burst;
  open.maps.events.maxEntries = 4096;
  const object = stack.use(await open.load());
  stack.use(Link.attachCgroup(object.programs.connect4, { cgroup: cgroup.path }));
  const kept = stack.move();
  return {
    map: object.maps.events,
    lost: () => object.maps.slots.get(15),
    port: server.port,
    send: () => connectFrom(cgroup.path, server.port),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

test('drain gives what is there, in order, and nothing twice', async () => {
  await using events = await source(3);
  using ring = events.map.open(EventCodec);
  assert.equal(
    ring.drain(() => assert.fail('nothing was sent')),
    0,
  );
  await events.send();
  const seen: Event[] = [];
  assert.equal(
    ring.drain((event) => seen.push(event)),
    4,
  );
  assert.deepEqual(
    seen.map(({ kind, number, comm }) => [kind, number, comm]),
    [
      ['VERDICT_REDIRECT', 0, 'bash'],
      ['VERDICT_REDIRECT', 1, 'bash'],
      ['VERDICT_REDIRECT', 2, 'bash'],
      ['VERDICT_PASS', events.port, 'bash'],
    ],
  );
  assert.equal(
    ring.drain(() => undefined),
    0,
  );
  assert.equal(ring.stats().backlogBytes, 0);
});

test('a reader that waits is woken by the event', { timeout: 30_000 }, async () => {
  await using events = await source();
  using ring = events.map.open(EventCodec);
  const iterator = ring.events();
  for (let round = 0; round < 3; round++) {
    const waiting = iterator.next();
    await events.send();
    const { value, done } = await waiting;
    assert.ok(!done);
    assert.equal(value?.number, events.port);
  }
  await iterator.return();
});

test('space is used again: many times the size of the ring goes through it', async () => {
  await using events = await source(20);
  using ring = events.map.open(EventCodec);
  // 21 records of 40 bytes a connection; the ring has 4096.
  const rounds = 30;
  let count = 0;
  for (let round = 0; round < rounds; round++) {
    await events.send();
    let last = -1;
    count += ring.drain((event) => {
      if (event.kind === 'VERDICT_REDIRECT') assert.equal(event.number, ++last);
    });
  }
  assert.equal(count, rounds * 21);
  assert.equal(events.lost(), 0n);
  assert.equal(ring.stats().received, count);
});

test('a ring that nobody reads fills up; what fits is kept, and the high-water mark shows it', async () => {
  await using events = await source(60);
  using ring = events.map.open(EventCodec);
  await events.send();
  await events.send();
  const lost = Number(events.lost());
  assert.ok(lost > 0);
  assert.equal(
    ring.drain(() => undefined),
    2 * 61 - lost,
  );
  const { highWaterBytes, capacityBytes } = ring.stats();
  assert.equal(capacityBytes, 4096);
  assert.ok(highWaterBytes > capacityBytes - 48);
});

test('an event counts as read when the callback throws, and the next drain goes on behind it', async () => {
  await using events = await source(2);
  using ring = events.map.open(EventCodec);
  await events.send();
  assert.throws(
    () =>
      ring.drain(() => {
        throw new Error('mine');
      }),
    /mine/,
  );
  assert.equal(
    ring.drain(() => undefined, 1),
    1,
  );
  assert.equal(
    ring.drain(() => undefined),
    1,
  );
});

test('a record that is not an event is counted and does not stop the reader', async () => {
  await using events = await source();
  const never = codec.enumeration({ NEVER: 99 }, codec.u32);
  const wrong = codec.struct<{ kind: 'NEVER' }>(12, { kind: [8, never] });
  using ring = events.map.open(wrong);
  await events.send();
  assert.equal(
    ring.drain(() => assert.fail('it cannot be decoded')),
    0,
  );
  assert.equal(ring.stats().malformed, 1);
  using longer = events.map.open(codec.bytes(33));
  await events.send();
  assert.equal(
    longer.drain(() => assert.fail('it is too short')),
    0,
  );
  assert.equal(longer.stats().malformed, 1);
});

test('a signal ends the wait', { timeout: 30_000 }, async () => {
  using object = await loadEverything();
  using ring = object.maps.events.open(EventCodec);
  const stop = new AbortController();
  const waiting = Array.fromAsync(ring.events({ signal: stop.signal }));
  await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  assert.deepEqual(await waiting, []);
});

test('closing ends the wait, also from inside a callback', { timeout: 30_000 }, async () => {
  await using events = await source(5);
  const ring = events.map.open(EventCodec);
  const waiting = Array.fromAsync(ring);
  await new Promise((resolve) => setImmediate(resolve));
  ring.close();
  assert.deepEqual(await waiting, []);
  assert.throws(() => ring.drain(() => undefined), { code: 'CLOSED' });
  assert.equal(ring.stats().backlogBytes, 0);

  const again = events.map.open(EventCodec);
  await events.send();
  assert.equal(
    again.drain(() => again.close()),
    1,
  );
  using rest = events.map.open(EventCodec);
  assert.equal(
    rest.drain(() => undefined),
    5,
    'what was not read stays for the next reader',
  );
});

test('waiting keeps no thread busy: file reads go on beside many waiting rings', {
  timeout: 30_000,
}, async () => {
  const { readFile } = await import('node:fs/promises');
  using object = await loadEverything();
  const stop = new AbortController();
  const others = await Promise.all(Array.from({ length: 8 }, () => loadEverything()));
  using stack = new DisposableStack();
  const waiting = [object, ...others].map((each) => {
    stack.use(each);
    return Array.fromAsync(stack.use(each.maps.events.open(EventCodec)).events({ signal: stop.signal }));
  });
  await new Promise((resolve) => setImmediate(resolve));
  // libuv has four threads: with one blocked by each ring this would never end.
  assert.ok((await readFile('/proc/version', 'utf8')).length > 0);
  stop.abort();
  await Promise.all(waiting);
});
