import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ShuntError } from '../errors.ts';
import type { PodReport, StatusReport } from './api.ts';
import { AgentClient, AgentError } from './client.ts';
import { type ApiHandlers, type ApiOptions, serveApi } from './server.ts';

const STATUS: StatusReport = {
  version: '0.1.0',
  pid: process.pid,
  startedAt: '2026-01-01T00:00:00Z',
  backend: 'ebpf',
  tier: { tier: 3, name: 'outbound and inbound by eBPF, with acceleration', limit: null },
  backendReason: 'the kernel runs it',
  cgroup: '/sys/fs/cgroup/kubepods',
  bpffs: '/sys/fs/bpf',
  source: { kind: 'files', path: '/etc/pods', manifests: 1, rejected: [] },
  settings: { path: null, error: null },
  adopted: { links: 0, pods: 0 },
  drift: { checkedAt: '2026-01-01T00:00:01Z', repaired: [], outstanding: [] },
  acceleration: { enabled: true, reason: 'the canary passed' },
  pods: { enrolled: 1, left: 0, failed: 0 },
  enrolledBy: { ebpf: 1, iptables: 0 },
  links: [{ name: 'connect4', attachType: 'cgroup_inet4_connect', attached: true, linkId: 7, programId: 9 }],
  maps: [{ name: 'pods', type: 'hash', entries: 1, capacity: 4096 }],
};

const POD: PodReport = {
  namespace: 'default',
  name: 'a',
  uid: 'default/a',
  state: 'enrolled',
  reason: null,
  error: null,
  mesh: 'istio',
  backend: 'ebpf',
  backendReason: "the node's backend",
  others: [],
  ip4: '10.0.0.2',
  ip6: null,
  netns: { path: '/run/netns/a', cookie: '18446744073709551615' },
  identity: 'cgroup',
  policy: null,
  held: {
    cookie: 18446744073709551615n,
    ip4: '10.0.0.2',
    ip6: null,
    inbound: true,
    listeners: { ip4: 1, ip6: 0 },
    acceleration: 'outbound',
    counters: { outbound_redirected: 9007199254740993n },
  },
};

const silent = { info() {}, warn() {} };

function handlers(changes: Partial<ApiHandlers> = {}): ApiHandlers {
  return {
    status: () => STATUS,
    pods: () => [POD],
    reconcile: async () => ({ repaired: ['link connect4 attached again'], outstanding: [] }),
    setAcceleration: (enabled) => ({ enabled, reason: 'asked' }),
    stop() {},
    ...changes,
  };
}

describe('the local API', () => {
  let directory: string;
  let socket: string;
  let stop: AbortController;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'shunt-api-'));
    socket = join(directory, 'run', 'agent.sock');
    stop = new AbortController();
  });
  afterEach(() => {
    stop.abort();
    rmSync(directory, { recursive: true, force: true });
  });

  const serve = (changes?: Partial<ApiHandlers>, options?: Partial<ApiOptions>) =>
    serveApi({ socket, handlers: handlers(changes), signal: stop.signal, log: silent, ...options });

  function raw(method: string, path: string, body?: string | Buffer, headers: Record<string, string> = {}) {
    return new Promise<{ status: number; text: string; headers: NodeJS.Dict<string | string[]> }>(
      (resolve, reject) => {
        const call = request({ socketPath: socket, method, path, headers, agent: false }, (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => (text += chunk));
          response.once('end', () =>
            resolve({ status: response.statusCode ?? 0, text, headers: response.headers }),
          );
          response.once('error', reject);
        });
        call.once('error', reject);
        call.end(body);
      },
    );
  }

  it('answers every route to its own client, 64-bit values whole', async () => {
    await using _server = await serve();
    const client = new AgentClient(socket);
    assert.deepEqual(await client.status(), STATUS);
    assert.deepEqual(await client.pods(), [POD]);
    assert.deepEqual(await client.reconcile(), {
      repaired: ['link connect4 attached again'],
      outstanding: [],
    });
    assert.deepEqual(await client.setAcceleration(false), { enabled: false, reason: 'asked' });
  });

  it('keeps the socket to root and removes it when it closes', async () => {
    const mask = process.umask(0);
    const server = await serve().finally(() => process.umask(mask));
    assert.equal(statSync(socket).mode & 0o777, 0o600);
    assert.equal(statSync(join(directory, 'run')).mode & 0o777, 0o755);
    stop.abort();
    await server.closed;
    assert.equal(existsSync(socket), false);
  });

  it('sends the answer to stop before the agent is told', async () => {
    const { promise: told, resolve } = Promise.withResolvers<void>();
    await using _server = await serve({ stop: resolve });
    await new AgentClient(socket).stop();
    await told;
  });

  it('refuses a body that is not JSON, or not the one it takes', async () => {
    await using _server = await serve();
    for (const body of ['{"enabled":', '{"enabled":"yes"}', '[]', '{"enabled":true,"more":1}', '']) {
      const { status, text } = await raw('POST', '/v1/acceleration', body);
      assert.equal(status, 400, body);
      assert.equal(JSON.parse(text).error.code, 'SHUNT_E_API_REQUEST');
    }
  });

  it('refuses a body over 64 KiB, announced or not', async () => {
    await using _server = await serve();
    const body = Buffer.alloc(64 * 1024 + 1, ' ');
    assert.equal((await raw('POST', '/v1/reconcile', body)).status, 413);
    assert.equal((await raw('POST', '/v1/reconcile', body, { 'transfer-encoding': 'chunked' })).status, 413);
    assert.equal((await raw('POST', '/v1/reconcile', body.subarray(0, 64 * 1024))).status, 200);
  });

  it('names the method a path takes, and knows no other path', async () => {
    await using _server = await serve();
    const wrong = await raw('DELETE', '/v1/pods');
    assert.deepEqual([wrong.status, wrong.headers.allow], [405, 'GET']);
    assert.equal((await raw('GET', '/v1/../etc/passwd')).status, 404);
    assert.equal((await raw('GET', '/v1/status?x')).status, 404);
  });

  it('ends a client that sends its request too slowly, and still serves others', async () => {
    await using _server = await serve({}, { requestDeadlineMs: 100 });
    const slow = connect(socket);
    slow.write('POST /v1/reconcile HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{');
    slow.resume();
    const ended = once(slow, 'close');
    assert.equal((await new AgentClient(socket).pods()).length, 1);
    await ended;
  });

  it('serves two requests at once', async () => {
    const both = Promise.withResolvers<void>();
    let waiting = 0;
    await using _server = await serve({
      // Neither is answered before the other has arrived.
      async reconcile() {
        waiting += 1;
        if (waiting === 2) both.resolve();
        await both.promise;
        return { repaired: [], outstanding: [] };
      },
    });
    const client = new AgentClient(socket);
    assert.equal((await Promise.all([client.reconcile(), client.reconcile()])).length, 2);
  });

  it('reports what a handler throws by its code, and what takes too long', async () => {
    await using _server = await serve(
      {
        status: () => {
          throw new ShuntError('SHUNT_E_CGROUP_REQUIRED');
        },
        pods: () => {
          throw new TypeError('of undefined');
        },
        reconcile: () => new Promise(() => {}),
      },
      { handlerDeadlineMs: 20 },
    );
    const client = new AgentClient(socket);
    const code = (expected: string) => (error: unknown) =>
      error instanceof AgentError && error.code === expected;
    await assert.rejects(client.status(), code('SHUNT_E_CGROUP_REQUIRED'));
    await assert.rejects(client.pods(), code('SHUNT_E_INTERNAL'));
    await assert.rejects(client.reconcile(), code('SHUNT_E_AGENT_SLOW'));
  });

  it('refuses to start beside an agent that answers, and leaves that one its socket', async () => {
    await using _server = await serve();
    await assert.rejects(serve(), { code: 'SHUNT_E_AGENT_RUNNING' });
    assert.equal((await new AgentClient(socket).status()).pid, process.pid);
  });

  it('takes over the socket that a killed agent left behind', async () => {
    {
      await using _first = await serve();
    }
    const dead = createServer().listen(socket);
    await once(dead, 'listening');
    // Moved away, so that closing the listener does not remove the file: what SIGKILL leaves.
    renameSync(socket, `${socket}.stale`);
    await new Promise((resolve) => dead.close(resolve));
    renameSync(`${socket}.stale`, socket);
    await assert.rejects(new AgentClient(socket).status(), { code: 'SHUNT_E_AGENT_DOWN' });
    await using _server = await serve();
    assert.equal((await new AgentClient(socket).pods()).length, 1);
  });

  it('does not remove a file that is not a socket', async () => {
    const file = join(directory, 'precious');
    writeFileSync(file, 'x');
    await assert.rejects(serve({}, { socket: file }), { code: 'SHUNT_E_SOCKET' });
    assert.equal(existsSync(file), true);
    chmodSync(file, 0o600);
  });
});

describe('the agent client', () => {
  const withAnswer = async (answer: string, check: (client: AgentClient) => Promise<void>) => {
    const directory = mkdtempSync(join(tmpdir(), 'shunt-client-'));
    const socket = join(directory, 's');
    const server = createServer((peer) => {
      peer.on('error', () => {});
      peer.once('data', () => (answer === '' ? undefined : peer.end(answer)));
    }).listen(socket);
    await once(server, 'listening');
    try {
      await check(new AgentClient(socket, { timeoutMs: 200 }));
    } finally {
      server.close();
      rmSync(directory, { recursive: true });
    }
  };

  it('says that no agent answers where there is no socket', async () => {
    await assert.rejects(new AgentClient('/nonexistent/agent.sock').pods(), {
      code: 'SHUNT_E_AGENT_DOWN',
      target: '/nonexistent/agent.sock',
    });
  });

  it('gives up on an agent that does not answer in time', async () => {
    await withAnswer('', (client) => assert.rejects(client.pods(), { code: 'SHUNT_E_AGENT_SLOW' }));
  });

  it('does not take what is not HTTP, not JSON, or not a pod list', async () => {
    const http = (body: string) =>
      `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
    for (const answer of ['SSH-2.0-x\r\n', http('{'), http('{"pods":[]}'), http('[{"namespace":1}]')]) {
      await withAnswer(answer, (client) => assert.rejects(client.pods(), { code: 'SHUNT_E_API_ANSWER' }));
    }
  });

  it('keeps fields that a newer agent adds', async () => {
    const body = '{"enabled":true,"reason":"x","since":"now"}';
    const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
    await withAnswer(answer, async (client) => {
      assert.deepEqual(await client.setAcceleration(true), JSON.parse(body));
    });
  });
});
