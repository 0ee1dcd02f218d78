import { libbpf, libc, registerPrint } from './ffi.ts';

/*
 * libbpf has one print callback for the process and does not say which object it speaks of. So loads, which run on
 * a pool thread, take turns: what is printed during one belongs to it. Calls of this thread cannot mix in: they
 * print while they run, and callbacks of other threads wait for the event loop.
 */

const LINE_BYTES = 16 << 10;

/** libbpf_print_level: warnings and information; debug lines are many and explain nothing to a user. */
const LIBBPF_INFO = 1;

let callSink: string[] | undefined;
let loadSink: string[] | undefined;
let users = 0;
let print: ReturnType<typeof registerPrint> | undefined;

function listen(): void {
  users++;
  if (users > 1) return;
  const line = new Uint8Array(LINE_BYTES);
  print = registerPrint((level, format, args) => {
    const sink = callSink ?? loadSink;
    if (level > LIBBPF_INFO || sink === undefined) return 0;
    // The caller's va_list goes through untouched: it is a pointer in the x86-64 and arm64 calling conventions.
    const length = libc.vsnprintf(line, LINE_BYTES, format, args);
    const text = Buffer.from(line.subarray(0, Math.max(0, Math.min(length, LINE_BYTES - 1)))).toString(
      'utf8',
    );
    sink.push(text.replace(/^libbpf: /, '').trimEnd());
    return 0;
  });
  libbpf.libbpf_set_print(print.pointer);
}

function unlisten(): void {
  users--;
  if (users > 0) return;
  libbpf.libbpf_set_print(null);
  print?.[Symbol.dispose]();
  print = undefined;
}

/** Runs a short call on this thread. @returns its result and what libbpf said meanwhile */
export function capture<T>(call: () => T): { result: T; said: string[] } {
  const said: string[] = [];
  const outer = callSink;
  listen();
  callSink = said;
  try {
    return { result: call(), said };
  } finally {
    callSink = outer;
    unlisten();
  }
}

let turn: Promise<unknown> = Promise.resolve();

/** Runs a call on a pool thread, one after the other. @returns its result and what libbpf said meanwhile */
export function captureLater<T>(call: () => Promise<T>): Promise<{ result: T; said: string[] }> {
  const mine = turn.then(async () => {
    const said: string[] = [];
    listen();
    loadSink = said;
    try {
      return { result: await call(), said };
    } finally {
      loadSink = undefined;
      unlisten();
    }
  });
  turn = mine.catch(() => undefined); // the caller hears of it; the next in line does not care
  return mine;
}
