/**
 * What passes between plugin and agent on one connection; native/cni/shunt-cni.c is the other end.
 *
 *   call    SHUNT-CNI 1 <bytes of variables> <bytes of stdin>\n, variables each ending in NUL, stdin
 *   answer  SHUNT-CNI 1 <code> <bytes>\n, an error of CNI as JSON where the code is not 0
 */
import { ShuntError } from '../errors.ts';

const GREETING = /^SHUNT-CNI 1 (\d{1,6}) (\d{1,6})$/;
const HEAD_BYTES = 64;
const VARIABLES_BYTES = 32 * 1024;
const STDIN_BYTES = 64 * 1024;

export interface RawCall {
  variables: Map<string, string>;
  stdin: string;
}

/** Collects one call from the pieces it comes in. */
export class CallReader {
  #heard: Buffer = Buffer.alloc(0);

  /**
   * @returns the call once it is whole, else null
   * @throws SHUNT_E_CNI_REQUEST when it is none, or longer than the plugin sends
   */
  push(piece: Buffer): RawCall | null {
    this.#heard = Buffer.concat([this.#heard, piece]);
    const end = this.#heard.subarray(0, HEAD_BYTES).indexOf('\n');
    if (end < 0) {
      if (this.#heard.length >= HEAD_BYTES) throw wrong('it does not begin as one');
      return null;
    }
    const head = GREETING.exec(this.#heard.subarray(0, end).toString('latin1'));
    if (head === null) throw wrong('it does not begin as one');
    const [variables, stdin] = [Number(head[1]), Number(head[2])];
    if (variables > VARIABLES_BYTES || stdin > STDIN_BYTES) throw wrong('it is longer than a call may be');
    const body = this.#heard.subarray(end + 1);
    if (body.length < variables + stdin) return null;
    if (body.length > variables + stdin) throw wrong('something comes after its end');
    return {
      variables: readVariables(body.subarray(0, variables).toString('utf8')),
      stdin: body.subarray(variables).toString('utf8'),
    };
  }
}

export function callText(variables: Readonly<Record<string, string>>, stdin: string): string {
  const block = Object.entries(variables)
    .map(([name, value]) => `${name}=${value}\0`)
    .join('');
  return `SHUNT-CNI 1 ${Buffer.byteLength(block)} ${Buffer.byteLength(stdin)}\n${block}${stdin}`;
}

/** @param body JSON of the error; empty where the code is 0 */
export function answerText(code: number, body: string): string {
  return `SHUNT-CNI 1 ${code} ${Buffer.byteLength(body)}\n${body}`;
}

function readVariables(block: string): Map<string, string> {
  const pairs = block.split('\0').filter((pair) => pair !== '');
  return new Map(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

function wrong(detail: string): ShuntError {
  return new ShuntError('SHUNT_E_CNI_REQUEST', detail);
}
