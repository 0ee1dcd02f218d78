import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import * as v from 'valibot';
import { ApiServer } from '../../test/kube/api_server.ts';
import { plainCredentials } from '../../test/kube/plain_credentials.ts';
import { Backoff } from '../pod/kubernetes/backoff.ts';
import { ApiConnection } from '../pod/kubernetes/connection.ts';
import { readKubernetesPod } from '../pod/kubernetes/pod_object.ts';
import { AnnotationEvents, type EventLimits, type Findings } from './annotation_events.ts';

const ANNOTATION = 'shunt.dev/acceleration';
const Told = v.object({
  reason: v.string(),
  type: v.literal('Warning'),
  message: v.string(),
  involvedObject: v.looseObject({ uid: v.string() }),
});

const note = (value: string) => ({ annotation: ANNOTATION, value, message: 'is none of them; off is taken' });
const findings = (...values: string[]): Findings => ({ notes: values.map(note), rejected: false });

function pod(uid: string) {
  const metadata = { name: `pod-${uid}`, namespace: 'shop', uid };
  const object = { metadata, spec: { nodeName: 'node-a', containers: [{ name: 'app' }] }, status: {} };
  return { pod: readKubernetesPod(object), file: 'server' };
}

interface Opened extends AsyncDisposable {
  look(found: Record<string, Findings | null>): void;
}

function open(server: ApiServer, limits: EventLimits = { burst: 100, refillMs: 1, waiting: 100 }): Opened {
  const connection = new ApiConnection(plainCredentials(server.port));
  const backoff = new Backoff({ shortestMs: 1, longestMs: 10 });
  const log = pino({ level: 'silent' });
  const events = new AnnotationEvents({ connection, nodeName: 'node-a', log, limits, backoff });
  const stop = new AbortController();
  const ended = events.run(stop.signal);
  return {
    look: (found) =>
      events.look({ pods: Object.keys(found).map(pod), rejected: [] }, (uid) => found[uid] ?? null),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await ended;
      connection[Symbol.dispose]();
    },
  };
}

const told = (server: ApiServer) =>
  server.requests
    .filter(({ kind }) => kind === 'POST')
    .map(({ body }) => v.parse(Told, body))
    .map(({ reason, message, involvedObject }) => ({ reason, message, uid: involvedObject.uid }));

test('an Event names pod, annotation and value, once, and again when the value changes', async () => {
  await using server = await ApiServer.start();
  await using events = open(server);
  events.look({ a: findings('fast'), b: null });
  events.look({ a: findings('fast'), b: null });
  await server.until('the event', () => server.count('POST') === 1);
  events.look({ a: findings('faster'), b: null });
  await server.until('the other', () => server.count('POST') === 2);
  events.look({ a: null, b: null });
  events.look({ a: findings('faster'), b: null });
  await server.until('the third', () => server.count('POST') === 3);
  const message = (value: string) => `${ANNOTATION}="${value}": is none of them; off is taken`;
  assert.deepEqual(
    told(server),
    ['fast', 'faster', 'faster'].map((value) => ({
      reason: 'ShuntAnnotation',
      message: message(value),
      uid: 'a',
    })),
  );
});

test('what the mesh rejects is told as that, and whatever an annotation holds makes one short Event', async () => {
  await using server = await ApiServer.start();
  await using events = open(server);
  const hostile = Array.from({ length: 500 }, () => '"\n\u0000\ud800{}😀'.repeat(20));
  events.look({ a: { notes: hostile.map(note), rejected: true } });
  await server.until('the event', () => server.count('POST') === 1);
  const [{ reason, message } = { reason: '', message: '' }] = told(server);
  assert.equal(reason, 'ShuntRejected');
  assert.match(message, /^not enrolled, as the mesh rejects it: shunt\.dev\/acceleration="\\"\\n\\u0000/);
  assert.ok(message.length <= 1024);
});

test('however many pods there are, the server is not asked more often than it should be, and pods that go are forgotten', async () => {
  await using server = await ApiServer.start();
  await using events = open(server, { burst: 3, refillMs: 3_600_000, waiting: 4 });
  const many = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`p${n}`, findings('fast')]));
  events.look(many);
  await server.until('a burst', () => server.count('POST') === 3);
  events.look(many);
  events.look({});
  events.look({ other: findings('fast') });
  await using unlimited = open(server);
  unlimited.look({ last: findings('fast') });
  await server.until('another agent', () => server.count('POST') === 4);
  assert.deepEqual(
    told(server).map(({ uid }) => uid),
    ['p0', 'p1', 'p2', 'last'],
  );
});

test('what the server cannot do now is tried again, and what it refuses is not', async () => {
  await using server = await ApiServer.start();
  await using events = open(server);
  server.failNext('POST', { status: 500 }, 'reset', { status: 429 });
  events.look({ a: findings('fast') });
  await server.until('the fourth try', () => server.count('POST') === 4);
  server.failNext('POST', { status: 403 }, { status: 404 });
  const three = { a: findings('fast'), b: findings('fast'), c: findings('fast') };
  events.look(three);
  await server.until('both refusals', () => server.count('POST') === 6);
  events.look({ ...three, d: findings('fast') });
  await server.until('the next', () => server.count('POST') === 7);
  assert.equal(told(server).at(-1)?.uid, 'd');
});
