/**
 * HTTP/1.1 by node:http.
 *
 *   http.mts serve PORT
 *   http.mts call HOST PORT CONNECTIONS
 *
 * The server: GET /give?bytes=N[&pause=MS] (with a pause before every chunk, chunked), POST /take (the SHA-256 of what came),
 * POST /echo (what comes, as it comes), GET /none (204), GET /short (ends before its length), GET /reset (RST after
 * the head), GET /hang (never answers). Any other path is 404.
 *
 * A caller does what it reads from its standard input on so many connections that stay, and answers with one line of one
 * word a connection: a digest of all answers with their codes, or `error:` and what went wrong.
 *
 *   get N PATH | post BYTES PATH | close
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const PERIOD = 65_521;
const CHUNK = 60_000;
const SHORT_BYTES = 100_000;

const PATTERN = Buffer.alloc(PERIOD + CHUNK);
for (let i = 0; i < PATTERN.length; i++) PATTERN[i] = ((i % PERIOD) * 7 + ((i % PERIOD) >> 8) * 13) & 0xff;

function* pattern(bytes: number): Generator<Buffer> {
  for (let at = 0; at < bytes; at += CHUNK) {
    yield PATTERN.subarray(at % PERIOD, (at % PERIOD) + Math.min(CHUNK, bytes - at));
  }
}

async function give(response: ServerResponse, bytes: number, pauseMs: number): Promise<void> {
  if (pauseMs === 0) response.setHeader('content-length', bytes);
  for (const part of pattern(bytes)) {
    if (pauseMs > 0) await delay(pauseMs);
    if (!response.write(part)) await once(response, 'drain');
  }
  response.end();
}

async function digestOf(body: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of body) hash.update(part);
  return hash.digest('hex');
}

async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(incoming.url ?? '/', 'http://server');
  const number = (name: string): number => Number(url.searchParams.get(name) ?? '0');
  if (url.pathname === '/give') return give(response, number('bytes'), number('pause'));
  if (url.pathname === '/take') {
    response.end(`${await digestOf(incoming)}\n`);
  } else if (url.pathname === '/echo') {
    incoming.pipe(response);
  } else if (url.pathname === '/none') {
    response.writeHead(204).end();
  } else if (url.pathname === '/short') {
    response.setHeader('content-length', SHORT_BYTES);
    response.write(PATTERN.subarray(0, CHUNK), () => response.socket?.end());
  } else if (url.pathname === '/reset') {
    response.setHeader('content-length', SHORT_BYTES);
    response.write('x', () => response.socket?.resetAndDestroy());
  } else if (url.pathname !== '/hang') response.writeHead(404).end('no such path\n');
}

class Caller {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #target: { host: string; port: number };

  constructor(target: { host: string; port: number }) {
    this.#target = target;
  }

  async #exchange(method: 'GET' | 'POST', path: string, bytes: number): Promise<string> {
    const headers = method === 'POST' ? { 'transfer-encoding': 'chunked' } : {};
    const outgoing = request({ ...this.#target, agent: this.#agent, method, path, headers });
    const answered = once(outgoing, 'response');
    // Told by the answer as well, which may have begun already.
    outgoing.on('error', () => {});
    const sending = (async () => {
      for (const part of pattern(bytes)) if (!outgoing.write(part)) await once(outgoing, 'drain');
      outgoing.end();
    })();
    sending.catch(() => {});
    const [response] = (await answered) as [IncomingMessage];
    const digest = await digestOf(response);
    await sending;
    return `${response.statusCode}:${digest}`;
  }

  async get(count: number, path: string): Promise<string> {
    const hash = createHash('sha256');
    const codes = new Set<string>();
    for (let i = 0; i < count; i++) {
      const answer = await this.#exchange('GET', path, 0);
      codes.add(answer.slice(0, 3));
      hash.update(answer);
    }
    return `${[...codes].join('+')}:${hash.digest('hex')}`;
  }

  post(bytes: number, path: string): Promise<string> {
    return this.#exchange('POST', path, bytes);
  }

  close(): string {
    this.#agent.destroy();
    return 'closed';
  }
}

async function call(host: string, port: number, connections: number): Promise<void> {
  const callers = Array.from({ length: connections }, () => new Caller({ host, port }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [what = '', count = '0', path = '/'] = line.split(' ');
    const failed = (error: NodeJS.ErrnoException): string => `error:${error.code ?? error.message}`;
    const answers = callers.map(async (caller) => {
      if (what === 'get') return caller.get(Number(count), path);
      return what === 'post' ? caller.post(Number(count), path) : caller.close();
    });
    process.stdout.write(`${(await Promise.all(answers.map((answer) => answer.catch(failed)))).join(' ')}\n`);
  }
}

const [mode, ...words] = process.argv.slice(2);
if (mode === 'serve') {
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, response) => {
    incoming.on('error', () => {});
    serve(incoming, response).catch(() => response.destroy());
  });
  server.listen(Number(words[0]), '0.0.0.0');
} else await call(words[0] ?? '', Number(words[1]), Number(words[2]));
