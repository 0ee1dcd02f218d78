import type { IncomingMessage } from 'node:http';
import { type ErrorCode, ShuntError } from '../../errors.ts';

/** Longest wait that a server's Retry-After is believed. */
const LONGEST_RETRY_AFTER_MS = 600_000;

/** A request to the API server that failed. */
export class KubeError extends ShuntError {
  /** HTTP status, also that of an ERROR event on a watch; null when there was no answer. */
  readonly status: number | null;
  /** What the server asked to wait. */
  readonly retryAfterMs: number;

  constructor(
    code: ErrorCode,
    detail: string,
    options: { target: string; status?: number; retryAfterMs?: number; cause?: unknown },
  ) {
    super(code, detail, options);
    this.name = 'KubeError';
    this.status = options.status ?? null;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }
}

/**
 * What an answer that is no success says.
 *
 * @param message of the Status object, where the body was one
 */
export function statusError(
  status: number,
  message: string | null,
  target: string,
  headers: IncomingMessage['headers'] = {},
): KubeError {
  const detail = `${status}${message === null ? '' : `: ${message.slice(0, 300)}`}`;
  return new KubeError(codeOf(status), detail, { target, status, retryAfterMs: retryAfterMs(headers) });
}

function codeOf(status: number): ErrorCode {
  switch (status) {
    case 401:
      return 'SHUNT_E_KUBE_UNAUTHORIZED';
    case 403:
      return 'SHUNT_E_KUBE_FORBIDDEN';
    case 429:
      return 'SHUNT_E_KUBE_THROTTLED';
    default:
      return 'SHUNT_E_KUBE_SERVER';
  }
}

/** Seconds only, which is what API servers send: a date would be held against a clock that may be wrong. */
function retryAfterMs(headers: IncomingMessage['headers']): number {
  const text = headers['retry-after'] ?? '';
  return /^\d{1,6}$/.test(text) ? Math.min(Number(text) * 1000, LONGEST_RETRY_AFTER_MS) : 0;
}
