/** Requests to the API server: JSON documents, and watches as streams of JSON lines. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import * as v from 'valibot';
import { ShuntError } from '../../errors.ts';
import { VERSION } from '../../version.ts';
import type { Credentials } from './credentials.ts';
import { KubeError, statusError } from './kube_error.ts';
import { JsonLines } from './lines.ts';

export interface ConnectionTimings {
  /** Longest time without a byte of an answer, other than on a watch. */
  answerMs: number;
  /** Longest time without a byte on a watch. Bookmarks come about once a minute. */
  watchIdleMs: number;
}

export const DEFAULT_TIMINGS: ConnectionTimings = { answerMs: 30_000, watchIdleMs: 180_000 };

/** A page of 500 pods is 10 MB at most in practice; etcd takes objects up to 1.5 MiB. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
const MAX_STATUS_BYTES = 64 * 1024;

export type Query = Record<string, string | number | undefined>;

const statusObject = v.object({ kind: v.literal('Status'), message: v.optional(v.string()) });

export class ApiConnection implements Disposable {
  readonly #credentials: Credentials;
  readonly #timings: ConnectionTimings;

  /** @param credentials disposed of with the connection */
  constructor(credentials: Credentials, timings: ConnectionTimings = DEFAULT_TIMINGS) {
    this.#credentials = credentials;
    this.#timings = timings;
  }

  get server(): string {
    return this.#credentials.server.href;
  }

  /**
   * Reads a JSON document.
   *
   * @throws KubeError, SHUNT_E_KUBE_CONFIG; the signal's reason when it ended the request
   */
  async get(path: string, query: Query, signal: AbortSignal): Promise<unknown> {
    return this.#document('GET', path, query, undefined, signal);
  }

  /** Makes an object. Throws as get(). */
  async post(path: string, body: object, signal: AbortSignal, query: Query = {}): Promise<unknown> {
    return this.#document('POST', path, query, body, signal);
  }

  /** Deletes an object, `body` holding the DeleteOptions. Throws as get(). */
  async delete(path: string, body: object, signal: AbortSignal): Promise<unknown> {
    return this.#document('DELETE', path, {}, body, signal);
  }

  /**
   * Opens a watch. Its events come until the server ends it; when it breaks off, or nothing comes for too long, the
   * iteration throws (SHUNT_E_KUBE_UNREACHABLE, SHUNT_E_KUBE_SILENT, SHUNT_E_KUBE_ANSWER).
   *
   * @throws as get() when it cannot be opened
   */
  async watch(path: string, query: Query, signal: AbortSignal): Promise<AsyncGenerator<unknown, void, void>> {
    return this.#events(await this.#open('GET', path, query, undefined, signal), `watch of ${path}`, signal);
  }

  async *#events(
    answer: IncomingMessage,
    target: string,
    signal: AbortSignal,
  ): AsyncGenerator<unknown, void, void> {
    const lines = new JsonLines(target);
    const { watchIdleMs } = this.#timings;
    for await (const chunk of this.#chunks(answer, target, watchIdleMs, 'SHUNT_E_KUBE_SILENT', signal)) {
      yield* lines.push(chunk);
    }
    lines.end();
  }

  [Symbol.dispose](): void {
    this.#credentials[Symbol.dispose]();
  }

  async #document(
    method: string,
    path: string,
    query: Query,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<unknown> {
    const answer = await this.#open(method, path, query, body, signal);
    const target = `${method} ${path}`;
    const text = await this.#text(answer, target, MAX_BODY_BYTES, signal);
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new KubeError('SHUNT_E_KUBE_ANSWER', 'the answer is not JSON', { target, cause });
    }
  }

  /** Sends the request; gives an answer of status 2xx whose body is still to be read. */
  async #open(
    method: string,
    path: string,
    query: Query,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const target = `${method} ${path}`;
    signal.throwIfAborted();
    const { headers, agent } = await this.#credentials.present();
    const url = urlOf(this.#credentials.server, path, query);
    const content = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = (url.protocol === 'http:' ? httpRequest : httpsRequest)(url, {
      method,
      agent,
      signal,
      headers: {
        ...headers,
        accept: 'application/json',
        'user-agent': `shunt/${VERSION}`,
        // The length is said, because Node does not by itself for a DELETE.
        ...(content === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': content.length }),
      },
    });
    const fail = (detail: string, cause?: unknown) =>
      new KubeError('SHUNT_E_KUBE_UNREACHABLE', detail, { target: this.server, cause });
    const { answerMs } = this.#timings;
    const timer = setTimeout(
      () => request.destroy(fail(`no answer to ${target} within ${answerMs / 1000} s`)),
      answerMs,
    );
    request.on('response', resolve);
    request.on('error', (cause) => {
      reject(
        cause instanceof KubeError ? cause : fail(`${target}: ${cause.message || String(cause)}`, cause),
      );
    });
    request.end(content);
    try {
      const answer = await promise;
      // An answer that breaks off tells the request as well, once nobody waits for it any more.
      request.on('error', () => {});
      if ((answer.statusCode ?? 0) >= 200 && (answer.statusCode ?? 0) < 300) return answer;
      throw await this.#refusal(answer, target, signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #refusal(answer: IncomingMessage, target: string, signal: AbortSignal): Promise<KubeError> {
    const status = answer.statusCode ?? 0;
    if (status === 401) this.#credentials.refused();
    let message: string | null = null;
    try {
      const text = await this.#text(answer, target, MAX_STATUS_BYTES, signal);
      const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), statusObject), text);
      if (parsed.success) message = parsed.output.message ?? null;
    } catch (error) {
      // The status alone says enough.
      if (!(error instanceof KubeError)) throw error;
    }
    return statusError(status, message, target, answer.headers);
  }

  async #text(
    answer: IncomingMessage,
    target: string,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const { answerMs } = this.#timings;
    for await (const chunk of this.#chunks(answer, target, answerMs, 'SHUNT_E_KUBE_UNREACHABLE', signal)) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        answer.destroy();
        throw new KubeError('SHUNT_E_KUBE_ANSWER', `the answer is larger than ${maxBytes} bytes`, { target });
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  /** The body as it comes; an error when nothing comes for so long, or when it breaks off. */
  async *#chunks(
    answer: IncomingMessage,
    target: string,
    idleMs: number,
    code: 'SHUNT_E_KUBE_SILENT' | 'SHUNT_E_KUBE_UNREACHABLE',
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, void> {
    const silence = () =>
      answer.destroy(new KubeError(code, `nothing came for ${idleMs / 1000} s`, { target }));
    const timer = setTimeout(silence, idleMs);
    try {
      for await (const chunk of answer) {
        timer.refresh();
        yield chunk;
      }
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      if (cause instanceof ShuntError) throw cause;
      const detail = `the answer broke off: ${cause instanceof Error ? cause.message : String(cause)}`;
      throw new KubeError('SHUNT_E_KUBE_UNREACHABLE', detail, { target, cause });
    } finally {
      clearTimeout(timer);
      // Given up before its end: the connection is of no more use.
      if (!answer.readableEnded) answer.destroy();
    }
  }
}

function urlOf(server: URL, path: string, query: Query): URL {
  const url = new URL(server);
  // A server behind a proxy may have a path of its own.
  url.pathname = `${server.pathname.replace(/\/$/, '')}${path}`;
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url;
}
