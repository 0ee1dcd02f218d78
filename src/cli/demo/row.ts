import type { InterfaceBytes } from '../../lab/interfaces.ts';

/** One line of the demo's table: what was seen, and whether it is what it should be. */
export interface Row {
  scenario: string;
  /** Who opens the connection, and to where. */
  from: string;
  to: string;
  /** Who accepted it, hop by hop; empty when nobody did. */
  acceptedBy: string[];
  /** SO_ORIGINAL_DST as each sidecar on the way restored it; all the same when all is well. */
  originalDst: string[];
  /** getpeername(2) at the client; null when it did not connect. */
  peername: string | null;
  /** Bytes the two ends gave to each other, and what crossed the interfaces of the pod meanwhile. */
  bytes: (InterfaceBytes & { sent: number }) | null;
  result: 'ok' | 'FAILED' | 'skipped';
  /** What is not as it should be, one sentence each. */
  failures: string[];
  explanation: string;
}

/** A row to be filled in. */
export function blankRow(scenario: string, from: string, to: string, explanation: string): Row {
  return {
    scenario,
    from,
    to,
    acceptedBy: [],
    originalDst: [],
    peername: null,
    bytes: null,
    result: 'ok',
    failures: [],
    explanation,
  };
}

/** The row with its verdict. */
export function judged(row: Row): Row {
  return { ...row, result: row.failures.length === 0 ? 'ok' : 'FAILED' };
}
