/**
 * An API server of the test's own, strict: whatever a real one would refuse, or what no reflector should ask, is a
 * fault that `faults` keeps. It holds objects with versions and a history, and fails on request.
 */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { patient } from '../../src/lab/deadline.ts';

export interface StoredObject {
  metadata: Record<string, unknown> & { name: string; namespace?: string; uid: string };
  [field: string]: unknown;
}

export interface SeenRequest {
  kind: 'LIST' | 'WATCH' | 'POST' | 'DELETE';
  path: string;
  query: Record<string, string>;
  body?: unknown;
}

/** What is done to one request instead of answering it. */
export type Fault =
  | { status: number; headers?: Record<string, string>; message?: string }
  | 'reset'
  /** No answer at all. */
  | 'hang'
  /** Head and half a body, and then nothing: what a peer behind a dead link looks like. */
  | 'half-open'
  /** A byte at a time. */
  | 'slow'
  | { raw: string };

interface HistoryEntry {
  version: number;
  type: string;
  path: string;
  object: StoredObject;
}

interface OpenWatch {
  path: string;
  selector: string | undefined;
  response: ServerResponse;
}

const LIST_QUERY = new Set(['fieldSelector', 'limit', 'resourceVersion', 'continue']);
const WATCH_QUERY = new Set([
  'fieldSelector',
  'watch',
  'allowWatchBookmarks',
  'resourceVersion',
  'timeoutSeconds',
]);
const COLLECTION = /^\/api\/v1\/(pods|namespaces)$/;
const MEMBER = /^\/api\/v1\/namespaces\/([^/]+)\/(pods|events)(?:\/([^/]+))?$/;

export class ApiServer implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  readonly faults: string[] = [];
  /** Accepted bearer token; null for any. */
  token: string | null = null;
  readonly #news = new EventEmitter();
  readonly #server;
  readonly #sockets = new Set<Socket>();
  readonly #stored = new Map<string, { path: string; object: StoredObject }>();
  #history: HistoryEntry[] = [];
  #version = 100;
  #oldest = 0;
  readonly #watches = new Set<OpenWatch>();
  readonly #pending: { kind: SeenRequest['kind']; fault: Fault }[] = [];

  private constructor(tls: { key: string; cert: string } | null) {
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch((error) => {
        this.faults.push(String(error));
        response.destroy();
      });
    };
    this.#server = tls === null ? createServer(listener) : createTlsServer(tls, listener);
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#news.setMaxListeners(0);
  }

  /** @param port 0 for any */
  static async start(tls: { key: string; cert: string } | null = null, port = 0): Promise<ApiServer> {
    const server = new ApiServer(tls);
    server.#server.listen(port, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get version(): number {
    return this.#version;
  }

  /** Watches that are open now. */
  get watches(): number {
    return this.#watches.size;
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  count(kind: SeenRequest['kind']): number {
    return this.requests.filter((request) => request.kind === kind).length;
  }

  /** The next request of this kind is not answered but failed. */
  failNext(kind: SeenRequest['kind'], ...faults: Fault[]): void {
    this.#pending.push(...faults.map((fault) => ({ kind, fault })));
  }

  /** Resolves once the condition holds; looked at after each request, watch and event. */
  async until(what: string, condition: () => boolean, timeoutMs = 20_000): Promise<void> {
    const signal = AbortSignal.timeout(patient(timeoutMs));
    while (!condition()) {
      await once(this.#news, 'news', { signal }).catch(() => assert.fail(`waited in vain for ${what}`));
    }
  }

  put(path: string, object: StoredObject): void {
    const known = this.#stored.has(object.metadata.uid);
    const version = ++this.#version;
    const stored = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(version) },
    };
    this.#stored.set(object.metadata.uid, { path, object: stored });
    this.#happened({ version, type: known ? 'MODIFIED' : 'ADDED', path, object: stored });
  }

  remove(uid: string): void {
    const entry = this.#stored.get(uid);
    assert.ok(entry !== undefined, `${uid} is not stored`);
    this.#stored.delete(uid);
    const version = ++this.#version;
    const { metadata } = entry.object;
    const object = { ...entry.object, metadata: { ...metadata, resourceVersion: String(version) } };
    this.#happened({ version, type: 'DELETED', path: entry.path, object });
  }

  /** As when something else changed, of which these watches see nothing. */
  age(versions: number): void {
    this.#version += versions;
  }

  /** Versions older than now are forgotten: a watch or a continued LIST from there gets 410. */
  compact(): void {
    this.#oldest = this.#version;
    this.#history = [];
  }

  bookmark(): void {
    for (const watch of this.#watches) {
      const kind = watch.path.endsWith('pods') ? 'Pod' : 'Namespace';
      send(watch.response, 'BOOKMARK', {
        kind,
        apiVersion: 'v1',
        metadata: { resourceVersion: String(this.#version) },
      });
    }
  }

  /** Sends text on every watch, as it stands. */
  sendRaw(text: string): void {
    for (const { response } of this.#watches) response.write(text);
  }

  /** Ends every watch, as after timeoutSeconds. */
  endWatches(): void {
    for (const { response } of this.#watches) response.end();
  }

  /** Breaks every connection with RST. */
  resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close');
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://server');
    const query = Object.fromEntries(url.searchParams);
    const kind = kindOf(request.method, query);
    const text = Buffer.concat(await Array.fromAsync<Buffer>(request)).toString();
    const seen: SeenRequest = { kind, path: url.pathname, query };
    if (text !== '') seen.body = JSON.parse(text);
    this.requests.push(seen);
    this.#news.emit('news');
    const at = this.#pending.findIndex((pending) => pending.kind === kind);
    if (at !== -1) {
      const [pending] = this.#pending.splice(at, 1);
      if (pending !== undefined) return fail(pending.fault, request, response);
    }
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) {
      return refuse(response, 401, 'Unauthorized');
    }
    if (kind === 'LIST') this.#list(url.pathname, query, response);
    else if (kind === 'WATCH') this.#watch(url.pathname, query, response);
    else if (kind === 'POST') this.#create(url.pathname, seen.body, response);
    else this.#delete(url.pathname, seen.body, response);
  }

  #list(path: string, query: Record<string, string>, response: ServerResponse): void {
    this.#check(path, query, LIST_QUERY);
    const limit = Number(query.limit);
    if (!(limit > 0)) this.faults.push('LIST without a limit');
    let from = 0;
    let version = this.#version;
    if (query.continue !== undefined) {
      const token = JSON.parse(Buffer.from(query.continue, 'base64').toString()) as { v: number; n: number };
      if (query.resourceVersion !== undefined) this.faults.push('continue together with resourceVersion');
      if (token.v < this.#oldest) {
        refuse(response, 410, 'The provided continue parameter is too old');
        return;
      }
      version = token.v;
      from = token.n;
    }
    const all = [...this.#stored.values()].filter(
      (entry) => entry.path === path && selects(query.fieldSelector, entry.object),
    );
    const items = all.slice(from, from + limit).map(({ object }) => object);
    const left = all.length - from - items.length;
    const token = Buffer.from(JSON.stringify({ v: version, n: from + limit })).toString('base64');
    answer(response, 200, {
      kind: 'PodList',
      apiVersion: 'v1',
      metadata: {
        resourceVersion: String(version),
        ...(left > 0 ? { continue: token, remainingItemCount: left } : {}),
      },
      items,
    });
  }

  #watch(path: string, query: Record<string, string>, response: ServerResponse): void {
    this.#check(path, query, WATCH_QUERY);
    if (query.allowWatchBookmarks !== 'true') this.faults.push('WATCH without bookmarks');
    const from = Number(query.resourceVersion);
    if (!(from > 0)) this.faults.push('WATCH from nowhere');
    if (!(Number(query.timeoutSeconds) > 0)) this.faults.push('WATCH without an end');
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < this.#oldest) {
      const message = `too old resource version: ${from} (${this.#oldest})`;
      send(response, 'ERROR', { kind: 'Status', status: 'Failure', message, reason: 'Expired', code: 410 });
      response.end();
      return;
    }
    const watch = { path, selector: query.fieldSelector, response };
    for (const entry of this.#history) {
      if (entry.version > from) deliver(watch, entry);
    }
    this.#watches.add(watch);
    response.on('close', () => {
      this.#watches.delete(watch);
      this.#news.emit('news');
    });
    this.#news.emit('news');
  }

  #create(path: string, body: unknown, response: ServerResponse): void {
    const [, namespace, resource, name] = MEMBER.exec(path) ?? [];
    const event = body as { metadata?: Record<string, string>; involvedObject?: Record<string, string> };
    if (resource !== 'events' || name !== undefined) refuse(response, 404, 'nothing is made there');
    else if (!event.metadata?.generateName || event.involvedObject?.namespace !== namespace) {
      refuse(response, 422, 'Event is invalid');
    } else {
      const made = `${event.metadata.generateName}${this.requests.length.toString(16)}`;
      answer(response, 201, { ...event, metadata: { ...event.metadata, name: made } });
    }
  }

  #delete(path: string, body: unknown, response: ServerResponse): void {
    const [, namespace, resource, name] = MEMBER.exec(path) ?? [];
    const { preconditions } = body as { preconditions?: { uid?: string } };
    const stored = [...this.#stored.values()].find(
      ({ object: { metadata } }) => metadata.namespace === namespace && metadata.name === name,
    );
    if (resource !== 'pods' || stored === undefined) refuse(response, 404, 'not found');
    else if (preconditions?.uid !== stored.object.metadata.uid) refuse(response, 409, 'the UID differs');
    else {
      this.remove(stored.object.metadata.uid);
      answer(response, 200, stored.object);
    }
  }

  #check(path: string, query: Record<string, string>, known: ReadonlySet<string>): void {
    if (!COLLECTION.test(path)) this.faults.push(`no such collection: ${path}`);
    for (const name of Object.keys(query)) {
      if (!known.has(name)) this.faults.push(`unknown parameter ${name}`);
    }
  }

  #happened(entry: HistoryEntry): void {
    this.#history.push(entry);
    for (const watch of this.#watches) deliver(watch, entry);
    this.#news.emit('news');
  }
}

function kindOf(method: string | undefined, query: Record<string, string>): SeenRequest['kind'] {
  if (method === 'POST' || method === 'DELETE') return method;
  return query.watch === undefined ? 'LIST' : 'WATCH';
}

function selects(selector: string | undefined, object: StoredObject): boolean {
  if (selector === undefined) return true;
  const node = /^spec\.nodeName=(.+)$/.exec(selector)?.[1];
  assert.ok(node !== undefined, `selector not supported: ${selector}`);
  return (object.spec as { nodeName?: string } | undefined)?.nodeName === node;
}

function deliver(watch: OpenWatch, { type, path, object }: HistoryEntry): void {
  if (watch.path === path && selects(watch.selector, object)) send(watch.response, type, object);
}

function send(response: ServerResponse, type: string, object: object): void {
  response.write(`${JSON.stringify({ type, object })}\n`);
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function refuse(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code }));
}

function fail(fault: Fault, request: IncomingMessage, response: ServerResponse): void {
  if (fault === 'hang') return;
  if (fault === 'reset') request.socket.resetAndDestroy();
  else if (fault === 'half-open' || fault === 'slow') {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{"kind":"PodList",');
    if (fault === 'half-open') return;
    const rest = '"metadata":{"resourceVersion":"100"},"items":[]}';
    let at = 0;
    const timer = setInterval(() => {
      response.write(rest[at++] ?? '');
      if (at < rest.length) return;
      clearInterval(timer);
      response.end();
    }, 2);
    response.on('close', () => clearInterval(timer));
  } else if ('raw' in fault) {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(fault.raw);
  } else refuse(response, fault.status, fault.message ?? 'as the test wishes', fault.headers);
}
