import assert from 'node:assert/strict';
import { mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ApiServer } from '../../../test/kube/api_server.ts';
import { selfSigned } from '../../../test/kube/certificate.ts';
import { ShuntError } from '../../errors.ts';
import { patient } from '../../lab/deadline.ts';
import { ApiConnection } from './connection.ts';
import { inClusterCredentials, kubeconfigCredentials } from './credentials.ts';

const signal = AbortSignal.timeout(patient(60_000));
const list = { limit: 5 };
const code = (expected: string) => (error: unknown) => error instanceof ShuntError && error.code === expected;
const folder = () => mkdtempDisposableSync(join(tmpdir(), 'shunt-credentials-'));

function kubeconfig(port: number, user: object, tls: { cert: string } | null): string {
  const server = `${tls === null ? 'http' : 'https'}://127.0.0.1:${port}`;
  const trust =
    tls === null
      ? { 'insecure-skip-tls-verify': true }
      : { 'certificate-authority-data': Buffer.from(tls.cert).toString('base64') };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server, ...trust } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });
}

test("a pod's service account is shown over TLS, and a rotated token and authority with the next request", async () => {
  const [old, renewed] = [selfSigned(), selfSigned()];
  using account = folder();
  let port: number;
  {
    await using server = await ApiServer.start(old);
    port = server.port;
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) };
    writeFileSync(join(account.path, 'ca.crt'), old.cert);
    writeFileSync(join(account.path, 'token'), 'first\n');
    server.token = 'first';
    const credentials = inClusterCredentials({ folder: account.path, env });
    using connection = new ApiConnection(credentials);
    await connection.get('/api/v1/pods', list, signal);
    server.token = 'second';
    await assert.rejects(connection.get('/api/v1/pods', list, signal), code('SHUNT_E_KUBE_UNAUTHORIZED'));
    writeFileSync(join(account.path, 'token'), 'second');
    await connection.get('/api/v1/pods', list, signal);
    assert.equal(server.connections, 1, 'one connection is kept');

    await server[Symbol.asyncDispose]();
    await using successor = await ApiServer.start(renewed, port);
    await assert.rejects(connection.get('/api/v1/pods', list, signal), code('SHUNT_E_KUBE_UNREACHABLE'));
    writeFileSync(join(account.path, 'ca.crt'), renewed.cert);
    await connection.get('/api/v1/pods', list, signal);
    assert.equal(successor.count('LIST'), 1, 'nothing was shown to a server that was not trusted');
  }
});

test('an address of the cluster that is IPv6 stands in brackets', () => {
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
  using credentials = inClusterCredentials({ folder: '/nowhere', env });
  assert.equal(credentials.server.href, 'https://[fd00::1]/');
});

test('outside of a pod the error says so; a missing token is an error of the request', async () => {
  assert.throws(() => inClusterCredentials({ env: {} }), code('SHUNT_E_KUBE_CONFIG'));
  const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' };
  using connection = new ApiConnection(inClusterCredentials({ folder: '/nowhere', env }));
  await assert.rejects(connection.get('/api/v1/pods', list, signal), code('SHUNT_E_KUBE_CONFIG'));
});

test('a kubeconfig is used as kubectl does, and read again when it changes or was refused', async () => {
  const tls = selfSigned();
  await using server = await ApiServer.start(tls);
  using files = folder();
  const file = join(files.path, 'config');
  const tokenFile = join(files.path, 'token');
  writeFileSync(tokenFile, 'first');
  writeFileSync(file, kubeconfig(server.port, { tokenFile }, tls));
  server.token = 'first';
  using connection = new ApiConnection(await kubeconfigCredentials(file));
  await connection.get('/api/v1/pods', list, signal);
  await connection.get('/api/v1/pods', list, signal);
  assert.equal(server.connections, 1, 'one connection is kept');

  server.token = 'second';
  writeFileSync(tokenFile, 'second');
  await connection.get('/api/v1/pods', list, signal);

  server.token = 'third';
  writeFileSync(file, kubeconfig(server.port, { token: 'third' }, tls));
  await connection.get('/api/v1/pods', list, signal);
  server.token = 'fourth';
  await assert.rejects(connection.get('/api/v1/pods', list, signal), code('SHUNT_E_KUBE_UNAUTHORIZED'));
  assert.equal(server.count('LIST'), 5);
});

test('a kubeconfig that is missing, broken or without a cluster names itself', async () => {
  using files = folder();
  const file = join(files.path, 'config');
  await assert.rejects(kubeconfigCredentials(file), code('SHUNT_E_KUBE_CONFIG'));
  for (const text of ['{', 'kind: Config\nusers: 7\n', 'apiVersion: v1\nkind: Config\n']) {
    writeFileSync(file, text);
    const failure = await kubeconfigCredentials(file).catch((error: unknown) => error);
    assert.ok(failure instanceof ShuntError && failure.code === 'SHUNT_E_KUBE_CONFIG', text);
    assert.ok(failure.message.startsWith(file), failure.message);
  }
});
