import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setInterval } from 'node:timers/promises';
import { ApiServer, type Fault, type StoredObject } from '../../../test/kube/api_server.ts';
import { plainCredentials } from '../../../test/kube/plain_credentials.ts';
import type { ErrorCode } from '../../errors.ts';
import { patient } from '../../lab/deadline.ts';
import { ApiConnection } from './connection.ts';
import type { Credentials } from './credentials.ts';
import { readKubernetesPod } from './pod_object.ts';
import { Reflector } from './reflector.ts';

const PODS = '/api/v1/pods';

function pod(uid: string, node = 'node-a', fields: Record<string, unknown> = {}): StoredObject {
  return {
    metadata: { name: uid, namespace: 'shop', uid },
    spec: { nodeName: node, containers: [{ name: 'app' }] },
    ...fields,
  };
}

interface Watcher extends AsyncDisposable {
  reflector: Reflector<string>;
  /** Uids told of, in order; '' where only the error changed. */
  told: string[];
  until(what: string, condition: () => boolean): Promise<void>;
}

interface Timings {
  answerMs?: number;
  watchIdleMs?: number;
  pageSize?: number;
  credentials?: Credentials;
}

/** A reflector of the pods of node-a, with waits of a few milliseconds. */
function watch(server: ApiServer, timings: Timings = {}): Watcher {
  const { answerMs = 20_000, watchIdleMs = 20_000, pageSize = 2 } = timings;
  const connection = new ApiConnection(timings.credentials ?? plainCredentials(server.port), {
    answerMs: patient(answerMs),
    watchIdleMs: patient(watchIdleMs),
  });
  const told: string[] = [];
  const waiting = new Set<() => void>();
  const reflector = new Reflector<string>({
    connection,
    path: PODS,
    fieldSelector: 'spec.nodeName=node-a',
    read: (object) => readKubernetesPod(object).metadata.name,
    changed: (uids) => {
      told.push(...(uids.size === 0 ? [''] : uids));
      for (const wake of waiting) wake();
    },
    timings: { backoff: { shortestMs: 1, longestMs: 20 }, watchSeconds: 290, shortWatchMs: 1_000 },
    pageSize,
  });
  const stop = new AbortController();
  const ended = reflector.run(stop.signal);
  return {
    reflector,
    told,
    until: async (what, condition) => {
      const timeout = AbortSignal.timeout(patient(20_000));
      while (!condition()) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        timeout.addEventListener('abort', () => reject(new Error(`waited in vain for ${what}`)));
        waiting.add(resolve);
        await promise;
        waiting.delete(resolve);
      }
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await ended;
      connection[Symbol.dispose]();
    },
  };
}

const names = (reflector: Reflector<string>) => [...reflector.values()].sort();

test('one LIST in pages and one WATCH bring the pods of this node and what becomes of them', async () => {
  await using server = await ApiServer.start();
  for (const uid of ['a', 'b', 'c', 'd', 'e']) server.put(PODS, pod(uid));
  server.put(PODS, pod('elsewhere', 'node-b'));
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  assert.deepEqual(names(watcher.reflector), ['a', 'b', 'c', 'd', 'e']);
  assert.ok(watcher.reflector.synced);
  assert.equal(watcher.reflector.error, null);

  server.put(PODS, pod('f'));
  server.remove('a');
  server.put(PODS, pod('other', 'node-b'));
  await watcher.until('both', () => watcher.told.includes('f') && watcher.told.at(-1) === 'a');
  assert.deepEqual(names(watcher.reflector), ['b', 'c', 'd', 'e', 'f']);

  assert.deepEqual(
    server.requests.map(({ kind }) => kind),
    ['LIST', 'LIST', 'LIST', 'WATCH'],
    'three pages of two, and then nothing is asked any more',
  );
  assert.equal(server.requests[0]?.query.resourceVersion, '0', 'from the cache of the server');
  assert.equal(watcher.reflector.requests.lists, 1);
  assert.deepEqual(server.faults, []);
});

test('bookmarks carry a quiet watch over a compaction: no second LIST', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  server.age(1_000);
  server.bookmark();
  server.compact();
  server.endWatches();
  await server.until('the next watch', () => server.count('WATCH') === 2 && server.watches === 1);
  assert.equal(server.requests.at(-1)?.query.resourceVersion, '1101');
  assert.equal(server.count('LIST'), 1);
  assert.equal(watcher.reflector.restarts.ended, 1);
});

test('an expired version is listed anew at once, and what went meanwhile is told', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  server.put(PODS, pod('b'));
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  watcher.told.length = 0;
  server.failNext('WATCH', { status: 503 });
  server.endWatches();
  await server.until('the failed watch', () => server.count('WATCH') === 2);
  server.remove('a');
  server.put(PODS, pod('c'));
  server.compact();
  await watcher.until(
    'the new list',
    () => watcher.reflector.requests.lists === 2 && names(watcher.reflector).join() === 'b,c',
  );
  await server.until('the new watch', () => server.watches === 1);
  assert.deepEqual(watcher.told.filter((uid) => uid !== '').sort(), ['a', 'c'], 'b did not change');
  assert.equal(watcher.reflector.restarts.expired, 1);
  assert.equal(
    server.requests.findLast(({ kind }) => kind === 'LIST')?.query.resourceVersion,
    undefined,
    'never older than what is known',
  );
});

test('a continue token that expires between pages starts the LIST anew', async () => {
  await using server = await ApiServer.start();
  for (const uid of ['a', 'b', 'c']) server.put(PODS, pod(uid));
  server.failNext('LIST', { status: 500 }, { status: 410 });
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  assert.deepEqual(names(watcher.reflector), ['a', 'b', 'c']);
  assert.equal(watcher.reflector.restarts.expired, 1);
});

const LIST_FAULTS: { what: string; fault: Fault; code: ErrorCode }[] = [
  { what: 'is refused with 401', fault: { status: 401 }, code: 'SHUNT_E_KUBE_UNAUTHORIZED' },
  { what: 'is refused with 403', fault: { status: 403 }, code: 'SHUNT_E_KUBE_FORBIDDEN' },
  { what: 'is refused with 429', fault: { status: 429 }, code: 'SHUNT_E_KUBE_THROTTLED' },
  { what: 'is answered with 500', fault: { status: 500 }, code: 'SHUNT_E_KUBE_SERVER' },
  { what: 'is reset', fault: 'reset', code: 'SHUNT_E_KUBE_UNREACHABLE' },
  { what: 'is never answered', fault: 'hang', code: 'SHUNT_E_KUBE_UNREACHABLE' },
  { what: 'is answered by half', fault: 'half-open', code: 'SHUNT_E_KUBE_UNREACHABLE' },
  { what: 'is answered in HTML', fault: { raw: '<html>' }, code: 'SHUNT_E_KUBE_ANSWER' },
  {
    what: 'is answered with a list of another shape',
    fault: { raw: '{"items":7}' },
    code: 'SHUNT_E_KUBE_ANSWER',
  },
  {
    what: 'is answered with items that are no objects',
    fault: { raw: '{"metadata":{"resourceVersion":"1"},"items":[null]}' },
    code: 'SHUNT_E_KUBE_ANSWER',
  },
];

for (const { what, fault, code } of LIST_FAULTS) {
  test(`a LIST that ${what} is told (${code}) and tried again`, async () => {
    await using server = await ApiServer.start();
    server.put(PODS, pod('a'));
    server.failNext('LIST', fault);
    const seen: string[] = [];
    await using watcher = watch(server, { answerMs: 100 });
    await watcher.until('the failure', () => {
      if (watcher.reflector.error !== null) seen.push(watcher.reflector.error.code);
      return watcher.reflector.synced;
    });
    assert.deepEqual([...new Set(seen)], [code]);
    assert.deepEqual(names(watcher.reflector), ['a']);
  });
}

const WATCH_FAULTS: Fault[] = [
  { status: 401 },
  { status: 403 },
  { status: 429 },
  { status: 500 },
  'reset',
  'hang',
  'half-open',
  { raw: 'not json\n' },
  { raw: '{"type":"ADDED","object":{"metadata":{}}}\n' },
  { raw: '{"type":"GONE","object":{}}\n' },
  { raw: '{"type":"ADDED","obj' },
  { raw: '{"type":"ERROR","object":{"code":500,"message":"etcd"}}\n' },
];

for (const fault of WATCH_FAULTS) {
  test(`a WATCH that meets ${JSON.stringify(fault)} is opened again where it was, without a LIST`, async () => {
    await using server = await ApiServer.start();
    server.put(PODS, pod('a'));
    server.failNext('WATCH', fault);
    await using watcher = watch(server, { answerMs: 100, watchIdleMs: 100 });
    await server.until('the second watch', () => server.count('WATCH') >= 2);
    server.put(PODS, pod('b'));
    await watcher.until('what came meanwhile', () => watcher.told.includes('b'));
    assert.equal(server.count('LIST'), 1);
    assert.equal(server.requests.find(({ kind }) => kind === 'WATCH')?.query.resourceVersion, '101');
    assert.deepEqual(names(watcher.reflector), ['a', 'b']);
  });
}

test('a link that dies without a word is noticed by its silence; bookmarks keep a quiet one open', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  await using watcher = watch(server, { watchIdleMs: 150 });
  await server.until('the watch', () => server.watches === 1);
  let bookmarks = 0;
  for await (const _ of setInterval(patient(40))) {
    server.bookmark();
    if (++bookmarks === 10) break;
  }
  assert.equal(server.count('WATCH'), 1, 'it was quiet for longer than a silent one would be left open');
  await server.until('the second watch', () => server.count('WATCH') === 2);
  assert.equal(watcher.reflector.restarts.silent, 1);
  assert.equal(server.count('LIST'), 1);
});
test('nonsense again and again from one place is left by a new LIST', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  const nonsense = { raw: '{"type":"MODIFIED","object":{"metadata":{"uid":7}}}\n' };
  server.failNext('WATCH', nonsense, nonsense, nonsense);
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  assert.equal(server.count('LIST'), 2);
  assert.equal(watcher.reflector.restarts.answer, 3);
});

test('a slow LIST is waited for as long as something comes', async () => {
  await using server = await ApiServer.start();
  server.failNext('LIST', 'slow');
  await using watcher = watch(server, { answerMs: 60 });
  await server.until('the watch', () => server.watches === 1);
  assert.equal(server.count('LIST'), 1);
  assert.equal(watcher.reflector.error, null);
});

test('Retry-After is waited for', async () => {
  await using server = await ApiServer.start();
  server.failNext('LIST', { status: 429, headers: { 'retry-after': '1' } });
  await using watcher = watch(server);
  await server.until('the refusal', () => server.count('LIST') === 1);
  const refusedMs = performance.now();
  await watcher.until('the list', () => watcher.reflector.synced);
  assert.ok(performance.now() - refusedMs > 900, 'the waits of this test are 20 ms at most');
});

test('every connection broken at once, again and again, loses nothing', async () => {
  await using server = await ApiServer.start();
  await using watcher = watch(server);
  for (let round = 0; round < 20; round++) {
    await server.until('a watch', () => server.watches === 1);
    server.put(PODS, pod(`p${round}`));
    server.resetAll();
    server.put(PODS, pod(`q${round}`));
    if (round % 5 === 0) server.remove(`p${round}`);
  }
  await watcher.until('all', () => watcher.reflector.size === 36);
  assert.equal(server.count('LIST'), 1);
});

test('a server that is away at first and for a while later is found again', async () => {
  const first = await ApiServer.start();
  const { port } = first;
  await first[Symbol.asyncDispose]();
  await using watcher = watch(first, { credentials: plainCredentials(port) });
  await watcher.until('the error', () => watcher.reflector.error?.code === 'SHUNT_E_KUBE_UNREACHABLE');
  assert.ok(!watcher.reflector.synced);
  {
    await using second = await ApiServer.start(null, port);
    second.put(PODS, pod('a'));
    await watcher.until('the pod', () => watcher.reflector.get('a') !== undefined);
    await second.until('the watch', () => second.watches === 1);
  }
  await watcher.until('the error', () => watcher.reflector.error !== null);
  assert.deepEqual(names(watcher.reflector), ['a'], 'what was known stays known');
});

test('a clock that jumps days forward and back changes nothing', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  mock.timers.enable({ apis: ['Date'], now: Date.now() + 90 * 86_400_000 });
  try {
    server.put(PODS, pod('b'));
    await watcher.until('b', () => watcher.told.includes('b'));
    mock.timers.setTime(0);
    server.put(PODS, pod('c'));
    await watcher.until('c', () => watcher.told.includes('c'));
    assert.deepEqual([server.count('LIST'), server.count('WATCH')], [1, 1]);
  } finally {
    mock.timers.reset();
  }
});

test('a pod that cannot be read is told apart and keeps what was known of it', async () => {
  await using server = await ApiServer.start();
  server.put(PODS, pod('a'));
  await using watcher = watch(server);
  await server.until('the watch', () => server.watches === 1);
  server.put(PODS, pod('a', 'node-a', { status: { podIPs: [{ ip: 'no address' }] } }));
  await watcher.until('the rejection', () => watcher.reflector.rejected.has('a'));
  assert.match(watcher.reflector.rejected.get('a')?.message ?? '', /pod shop\/a: status\.podIPs/);
  assert.deepEqual(names(watcher.reflector), ['a']);
  server.put(PODS, pod('a'));
  await watcher.until('its recovery', () => !watcher.reflector.rejected.has('a'));
});

test('at the signal nothing is left: no request, no connection, no timer', async () => {
  await using server = await ApiServer.start();
  {
    await using watcher = watch(server);
    await server.until('the watch', () => server.watches === 1);
    assert.equal(watcher.reflector.error, null);
  }
  await server.until('the end of the watch', () => server.watches === 0);
});
