import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { ApiServer, type StoredObject } from '../../test/kube/api_server.ts';
import { plainCredentials } from '../../test/kube/plain_credentials.ts';
import { Backoff } from '../pod/kubernetes/backoff.ts';
import { ApiConnection } from '../pod/kubernetes/connection.ts';
import { readKubernetesPod } from '../pod/kubernetes/pod_object.ts';
import { validatorFailure } from '../pod/kubernetes/repair.ts';
import { Repairer, type RepairMode } from './repairer.ts';

const PODS = '/api/v1/pods';
const CONTROLLER = [{ kind: 'ReplicaSet', name: 'web', controller: true }];
const failed = (exitCode: number) => ({ state: { waiting: {} }, lastState: { terminated: { exitCode } } });

function pod(
  uid: string,
  status: object = failed(126),
  metadata: object = {},
  name = 'istio-validation',
): StoredObject {
  return {
    metadata: { name: `pod-${uid}`, namespace: 'shop', uid, ownerReferences: CONTROLLER, ...metadata },
    spec: { nodeName: 'node-a', containers: [{ name: 'app' }] },
    status: { phase: 'Pending', initContainerStatuses: [{ name, ...status }] },
  };
}

interface Opened extends AsyncDisposable {
  look(pods: StoredObject[], enrolled?: boolean): void;
}

function open(server: ApiServer, mode: RepairMode): Opened {
  const connection = new ApiConnection(plainCredentials(server.port));
  const backoff = new Backoff({ shortestMs: 1, longestMs: 10 });
  const log = pino({ level: 'silent' });
  const repairer = new Repairer({ connection, nodeName: 'node-a', mode, log, backoff });
  const stop = new AbortController();
  const ended = repairer.run(stop.signal);
  return {
    look: (pods, enrolled = true) => {
      const read = pods.map((each) => ({ pod: readKubernetesPod(each), file: 'server' }));
      repairer.look({ pods: read, rejected: [] }, () => enrolled);
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await ended;
      connection[Symbol.dispose]();
    },
  };
}

test('a validator that gave up is known for each mesh, and one that passed, waits or died otherwise is none', () => {
  const failure = (name: string, status: object, metadata: object = {}) =>
    validatorFailure(readKubernetesPod(pod('a', status, metadata, name)))?.mesh ?? null;
  assert.equal(failure('istio-validation', failed(126)), 'Istio');
  assert.equal(failure('istio-validation', { state: { terminated: { exitCode: 126 } } }), 'Istio');
  assert.equal(failure('istio-validation', failed(137)), null, 'killed for want of memory, say');
  assert.equal(failure('linkerd-network-validator', failed(95)), 'Linkerd');
  assert.equal(failure('kuma-validation', failed(1)), 'Kuma');
  const passed = { state: { terminated: { exitCode: 0 } }, lastState: { terminated: { exitCode: 126 } } };
  assert.equal(failure('istio-validation', passed), null);
  assert.equal(failure('istio-validation', { state: { running: {} } }), null);
  assert.equal(failure('app', failed(126)), null);
  assert.equal(failure('istio-validation', failed(126), { deletionTimestamp: '2026-01-01T00:00:00Z' }), null);
});

test('by default an Event tells of the pod, once, and nothing is deleted', async () => {
  await using server = await ApiServer.start();
  await using repairer = open(server, 'event');
  repairer.look([pod('a')]);
  repairer.look([pod('a')]);
  repairer.look([pod('a'), pod('b')]);
  await server.until('both events', () => server.count('POST') === 2);
  const [first] = server.requests;
  assert.equal(first?.path, '/api/v1/namespaces/shop/events');
  const event = first?.body as Record<string, unknown>;
  assert.equal(event.reason, 'ShuntEnrolledLate');
  assert.match(String(event.message), /Istio's istio-validation ended with 126 before the pod was enrolled/);
  assert.deepEqual(event.involvedObject, {
    kind: 'Pod',
    apiVersion: 'v1',
    namespace: 'shop',
    name: 'pod-a',
    uid: 'a',
  });
  assert.equal(server.count('DELETE'), 0);
});

test('a pod that is not enrolled is left until it is: another try would fail as well', async () => {
  await using server = await ApiServer.start();
  await using repairer = open(server, 'event');
  repairer.look([pod('a')], false);
  repairer.look([pod('b')]);
  await server.until('the event', () => server.count('POST') === 1);
  assert.match(JSON.stringify(server.requests[0]?.body), /"uid":"b"/);
  repairer.look([pod('a')]);
  await server.until('the other', () => server.count('POST') === 2);
});

test('when asked to, it deletes this very pod, and only one that a controller makes anew', async () => {
  await using server = await ApiServer.start();
  const lone = pod('lone', failed(126), { ownerReferences: [] });
  const mirror = pod('mirror', failed(126), {
    ownerReferences: [{ kind: 'Node', name: 'n', controller: true }],
  });
  const namesake = pod('old', failed(126), { name: 'same' });
  server.put(PODS, pod('new', {}, { name: 'same' }));
  for (const each of [pod('a'), lone, mirror]) server.put(PODS, each);
  await using repairer = open(server, 'delete');
  repairer.look([lone, mirror, namesake, pod('a')]);
  await server.until('all', () => server.count('POST') === 4 && server.count('DELETE') === 2);
  assert.deepEqual(
    server.requests.filter(({ kind }) => kind === 'DELETE').map(({ path, body }) => [path, body]),
    [
      ['same', 'old'],
      ['pod-a', 'a'],
    ].map(([name, uid]) => [
      `/api/v1/namespaces/shop/pods/${name}`,
      { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid } },
    ]),
  );
});

test('what the server cannot do now is tried again, and told only once; what it forbids is not tried again', async () => {
  await using server = await ApiServer.start();
  for (const uid of ['a', 'b']) server.put(PODS, pod(uid));
  server.failNext('POST', { status: 500 }, 'reset');
  server.failNext('DELETE', { status: 503 });
  await using repairer = open(server, 'delete');
  repairer.look([pod('a')]);
  await server.until('the deletion', () => server.count('DELETE') === 2);
  assert.equal(server.count('POST'), 3);
  server.failNext('POST', { status: 403 });
  repairer.look([pod('a'), pod('b')]);
  await server.until('the refusal', () => server.count('POST') === 4);
  repairer.look([pod('a'), pod('b'), pod('c')]);
  await server.until('the next pod', () => server.count('POST') === 5);
  assert.match(JSON.stringify(server.requests.at(-1)?.body), /"uid":"c"/);
});

test('switched off, it does nothing', async () => {
  await using server = await ApiServer.start();
  await using off = open(server, 'off');
  await using on = open(server, 'event');
  off.look([pod('a')]);
  on.look([pod('b')]);
  await server.until('the event', () => server.count('POST') === 1);
  assert.match(JSON.stringify(server.requests), /"uid":"b"/);
});
