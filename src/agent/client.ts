import { request } from 'node:http';
import * as v from 'valibot';
import type { AccelerationState } from '../datapath/interface.ts';
import { type ErrorCode, ShuntError } from '../errors.ts';
import type { ErrorReport, PodReport, ReconcileReport, StatusReport } from './api.ts';
import { AccelerationSchema, ErrorAnswer, PodsSchema, ReconcileSchema, StatusSchema } from './schema.ts';

/** More than a node of 500 pods with full counters says, by far. */
const ANSWER_LIMIT_BYTES = 64 * 1024 * 1024;

/** An error that the agent reported, in its own code and words. */
export class AgentError extends Error {
  readonly code: ErrorReport['code'];
  readonly fix: string;
  constructor(report: ErrorReport) {
    super(report.message);
    this.name = 'AgentError';
    this.code = report.code;
    this.fix = report.fix;
  }
}

/**
 * Talks to the agent on this node.
 *
 * Every method throws SHUNT_E_AGENT_DOWN when nobody answers on the socket, SHUNT_E_AGENT_SLOW past the deadline,
 * SHUNT_E_NOT_ROOT where the socket may not be opened, SHUNT_E_API_ANSWER for an answer in an unknown form, and
 * AgentError with what the agent itself reported.
 */
export class AgentClient {
  readonly socket: string;
  readonly #timeoutMs: number;

  /**
   * @param socket path of the agent's unix socket
   * @param options `timeoutMs` bounds one request, default 10 s
   */
  constructor(socket: string, options: { timeoutMs?: number } = {}) {
    this.socket = socket;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
  }

  async status(): Promise<StatusReport> {
    return this.#parse(StatusSchema, await this.#send('GET', '/v1/status'));
  }

  async pods(): Promise<PodReport[]> {
    return this.#parse(PodsSchema, await this.#send('GET', '/v1/pods'));
  }

  /** Compares what is wanted with what the kernel holds, now, and repairs it. */
  async reconcile(): Promise<ReconcileReport> {
    return this.#parse(ReconcileSchema, await this.#send('POST', '/v1/reconcile', {}));
  }

  async setAcceleration(enabled: boolean): Promise<AccelerationState> {
    return this.#parse(AccelerationSchema, await this.#send('POST', '/v1/acceleration', { enabled }));
  }

  /** Asks the agent to exit; it does so after it has answered. Everything pinned stays. */
  async stop(): Promise<void> {
    await this.#send('POST', '/v1/stop', {});
  }

  #parse<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
    const parsed = v.safeParse(schema, value);
    if (parsed.success) return parsed.output;
    const [issue] = parsed.issues;
    const where = v.getDotPath(issue) ?? 'the answer';
    throw new ShuntError('SHUNT_E_API_ANSWER', `${where}: ${issue.message}`, { target: this.socket });
  }

  async #send(method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
    const { status, text } = await this.#exchange(
      method,
      path,
      body === undefined ? '' : JSON.stringify(body),
    );
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new ShuntError('SHUNT_E_API_ANSWER', 'the answer is not JSON', { target: this.socket, cause });
    }
    if (status === 200) return value;
    throw new AgentError(this.#parse(ErrorAnswer, value).error);
  }

  #exchange(method: string, path: string, body: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const fail = (code: ErrorCode, cause?: unknown) =>
        reject(new ShuntError(code, undefined, { target: this.socket, cause }));
      const call = request(
        {
          socketPath: this.socket,
          method,
          path,
          agent: false,
          headers:
            body === ''
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
          signal: AbortSignal.timeout(this.#timeoutMs),
        },
        (response) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          response.on('data', (chunk: Buffer) => {
            bytes += chunk.length;
            chunks.push(chunk);
            if (bytes > ANSWER_LIMIT_BYTES) response.destroy(new Error('the answer is too long'));
          });
          response.once('error', (cause) => fail(failureCode(cause), cause));
          response.once('end', () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      call.once('error', (cause) => fail(failureCode(cause), cause));
      call.end(body);
    });
  }
}

function failureCode(error: Error): ErrorCode {
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return 'SHUNT_E_AGENT_SLOW';
  const code = 'code' in error ? error.code : undefined;
  if (code === 'EACCES' || code === 'EPERM') return 'SHUNT_E_NOT_ROOT';
  if (typeof code === 'string' && code.startsWith('HPE_')) return 'SHUNT_E_API_ANSWER';
  // ENOENT, ECONNREFUSED, ENOTSOCK, and ECONNRESET from an agent that died while answering.
  return 'SHUNT_E_AGENT_DOWN';
}
