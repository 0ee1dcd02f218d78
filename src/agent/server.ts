import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import * as v from 'valibot';
import type { AccelerationState } from '../datapath/interface.ts';
import { errorReport, ShuntError } from '../errors.ts';
import { claimSocket, type SocketServer, serveRoot } from '../unix_socket.ts';
import type { ErrorReport, PodReport, ReconcileReport, StatusReport } from './api.ts';

/** What the agent answers with; each may throw a ShuntError, which becomes the ErrorReport. */
export interface ApiHandlers {
  status(): StatusReport | Promise<StatusReport>;
  pods(): PodReport[] | Promise<PodReport[]>;
  reconcile(): Promise<ReconcileReport>;
  setAcceleration(enabled: boolean): AccelerationState | Promise<AccelerationState>;
  /** Called once the answer is on its way. */
  stop(): void;
}

/** The part of a pino logger that is used here. */
export interface ApiLog {
  info(object: object, message: string): void;
  warn(object: object, message: string): void;
}

export interface ApiOptions {
  /** Path of the unix socket. */
  socket: string;
  handlers: ApiHandlers;
  /** Closes the server. */
  signal: AbortSignal;
  log: ApiLog;
  /** A request must have arrived whole within this. Default 5 s. */
  requestDeadlineMs?: number;
  /** A handler must have answered within this. Default 60 s. */
  handlerDeadlineMs?: number;
}

const BODY_LIMIT_BYTES = 64 * 1024;
/** Local clients are a handful; past this a leak in one of them must not eat the agent's descriptors. */
const MAX_CONNECTIONS = 64;

interface Route {
  method: 'GET' | 'POST';
  answer(handlers: ApiHandlers, body: unknown): unknown;
  /** Runs when the answer has been sent. */
  after?(handlers: ApiHandlers): void;
}

const AccelerationBody = v.strictObject({ enabled: v.boolean() });

const ROUTES = new Map<string, Route>([
  ['/v1/status', { method: 'GET', answer: (handlers) => handlers.status() }],
  ['/v1/pods', { method: 'GET', answer: (handlers) => handlers.pods() }],
  ['/v1/reconcile', { method: 'POST', answer: (handlers) => handlers.reconcile() }],
  [
    '/v1/acceleration',
    {
      method: 'POST',
      answer(handlers, body) {
        const parsed = v.safeParse(AccelerationBody, body);
        if (!parsed.success)
          throw badRequest(400, 'the body is to be {"enabled": true} or {"enabled": false}');
        return handlers.setAcceleration(parsed.output.enabled);
      },
    },
  ],
  ['/v1/stop', { method: 'POST', answer: () => ({}), after: (handlers) => handlers.stop() }],
]);

/**
 * Serves the agent's API on a unix socket that only root may open (directory 0755, socket 0600).
 *
 * @throws SHUNT_E_AGENT_RUNNING when somebody answers on the socket already
 * @throws SHUNT_E_SOCKET when the path cannot be used
 */
export async function serveApi(options: ApiOptions): Promise<SocketServer> {
  const { socket, handlers, log, signal } = options;
  await claimSocket(socket);
  const deadlineMs = options.requestDeadlineMs ?? 5_000;
  const server = createServer(
    {
      maxHeaderSize: 8 * 1024,
      headersTimeout: deadlineMs,
      requestTimeout: deadlineMs,
      keepAliveTimeout: deadlineMs,
      connectionsCheckingInterval: Math.max(10, Math.min(1_000, deadlineMs / 4)),
    },
    (request, response) => {
      answer(request, response, handlers, options.handlerDeadlineMs ?? 60_000).catch((error: unknown) => {
        log.warn({ event: 'api_failed', err: error }, 'a request to the local API failed');
        response.destroy();
      });
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  const close = () => {
    server.close();
    // A client that holds its connection open, idle or not, must not hold the agent's exit.
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), 500).unref();
  };
  const serving = await serveRoot(server, socket, signal, close);
  log.info({ event: 'api_listening', socket }, 'local API is listening');
  return serving;
}

/** JSON with bigints as decimal strings, which is how every 64-bit value crosses this API. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? field.toString() : field));
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handlers: ApiHandlers,
  deadlineMs: number,
): Promise<void> {
  try {
    const route = ROUTES.get(request.url ?? '');
    if (route === undefined) throw badRequest(404, `no such path: ${String(request.url).slice(0, 200)}`);
    if (request.method !== route.method) {
      response.setHeader('allow', route.method);
      throw badRequest(405, `${request.url} takes ${route.method}, not ${request.method}`);
    }
    const text = await readBody(request);
    const body = route.method === 'POST' ? parseBody(text) : undefined;
    const result = await withDeadline(route.answer(handlers, body), deadlineMs);
    const { after } = route;
    if (after) response.once('close', () => after(handlers));
    send(response, 200, result);
  } catch (error) {
    if (response.destroyed || request.errored) return;
    const { status, report } = describe(error);
    // What is left of an over-long body is not read: the connection ends with the answer.
    if (!request.complete) response.setHeader('connection', 'close');
    send(response, status, { error: report });
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  const text = toJson(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const tooLong = () => badRequest(413, `the body is longer than ${BODY_LIMIT_BYTES} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > BODY_LIMIT_BYTES) throw tooLong();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Listeners, not `for await`: leaving that loop destroys the request, and the answer with it.
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= BODY_LIMIT_BYTES) chunks.push(chunk);
    else {
      request.pause();
      reject(tooLong());
    }
  });
  request.once('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
  request.once('error', reject);
  request.once('close', () => reject(badRequest(400, 'the client left in the middle of its request')));
  return await promise;
}

function parseBody(text: string): unknown {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw badRequest(400, 'the body is not JSON');
  }
}

async function withDeadline<T>(work: T | Promise<T>, deadlineMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ShuntError('SHUNT_E_AGENT_SLOW')), deadlineMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

class RequestError extends ShuntError {
  readonly status: number;
  constructor(status: number, detail: string) {
    super('SHUNT_E_API_REQUEST', detail);
    this.status = status;
  }
}

function badRequest(status: number, detail: string): RequestError {
  return new RequestError(status, detail);
}

function describe(error: unknown): { status: number; report: ErrorReport } {
  if (error instanceof RequestError) return { status: error.status, report: error.toJSON() };
  const late = error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_SLOW';
  return { status: late ? 504 : 500, report: errorReport(error) };
}
