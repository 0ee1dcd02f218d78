/**
 * What every peer of a stream runtime speaks, here over node:net. A server answers lines, and keeps the connection:
 *
 *   echo N\n + N bytes   -> the N bytes
 *   give N START\n       -> N bytes of the pattern, from START on
 *   take N\n + N bytes   -> their SHA-256 in hex, and \n
 *   copy\n + bytes, FIN  -> the bytes as they come, then FIN
 *
 *   stream.mts serve PORT
 *   stream.mts call HOST PORT CONNECTIONS
 *
 * A caller does what it reads from its standard input over all its connections at once, and answers with one line of
 * one word a connection: a digest of all that came, or `error:` and what went wrong.
 *
 *   open | requests N SIZE | give N | slow N | take N | half N | close
 *
 * It runs as a plain script, copied to where its uid can read it: it imports nothing of ours.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** A prime: no message, segment or page repeats it. */
const PERIOD = 65_521;
const CHUNK = 60_000;
const SLOW = { bytes: 50_000, pauseMs: 5 };
/** The nth connection starts the pattern so many times n later. */
const STEP = 977;

const PATTERN = Buffer.alloc(PERIOD + CHUNK);
for (let i = 0; i < PATTERN.length; i++) PATTERN[i] = ((i % PERIOD) * 7 + ((i % PERIOD) >> 8) * 13) & 0xff;

function* pattern(bytes: number, start: number): Generator<Buffer> {
  for (let at = 0; at < bytes; at += CHUNK) {
    const from = (start + at) % PERIOD;
    yield PATTERN.subarray(from, from + Math.min(CHUNK, bytes - at));
  }
}

class Reader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = socket.iterator({ destroyOnReturn: false });
  }

  /** What came, `most` bytes of it; null at the end. */
  async some(most = Number.POSITIVE_INFINITY): Promise<Buffer | null> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return null;
      this.#rest = value;
    }
    const part = this.#rest.subarray(0, Math.min(most, this.#rest.length));
    this.#rest = this.#rest.subarray(part.length);
    return part;
  }

  async *exactly(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      const part = await this.some(left);
      if (part === null) throw new Error('early-end');
      left -= part.length;
      yield part;
    }
  }

  async line(): Promise<string | null> {
    let line = '';
    for (;;) {
      const byte = await this.some(1);
      if (byte === null) return line === '' ? null : line;
      if (byte[0] === 0x0a) return line;
      line += byte.toString('latin1');
    }
  }
}

async function send(socket: Socket, data: Buffer | string): Promise<void> {
  if (!socket.write(data)) await once(socket, 'drain');
}

async function serve(socket: Socket): Promise<void> {
  const reader = new Reader(socket);
  for (let line = await reader.line(); line !== null; line = await reader.line()) {
    const [what, count = '0', start = '0'] = line.split(' ');
    if (what === 'echo') for await (const part of reader.exactly(Number(count))) await send(socket, part);
    else if (what === 'give') {
      for (const part of pattern(Number(count), Number(start))) await send(socket, part);
    } else if (what === 'take') {
      const hash = createHash('sha256');
      for await (const part of reader.exactly(Number(count))) hash.update(part);
      await send(socket, `${hash.digest('hex')}\n`);
    } else if (what === 'copy') {
      for (let part = await reader.some(); part !== null; part = await reader.some())
        await send(socket, part);
    } else throw new Error(`unknown: ${line}`);
  }
  socket.end();
}

class Caller {
  readonly #socket: Socket;
  readonly #reader: Reader;
  readonly #start: number;

  constructor(socket: Socket, index: number) {
    this.#socket = socket;
    this.#reader = new Reader(socket);
    this.#start = index * STEP;
  }

  async requests(count: number, size: number): Promise<string> {
    const hash = createHash('sha256');
    for (let i = 0; i < count; i++) {
      const message = Buffer.concat([...pattern(size, this.#start + i)]);
      await send(this.#socket, Buffer.concat([Buffer.from(`echo ${size}\n`), message]));
      for await (const part of this.#reader.exactly(size)) hash.update(part);
    }
    return hash.digest('hex');
  }

  async give(bytes: number, slow: boolean): Promise<string> {
    const hash = createHash('sha256');
    let since = 0;
    await send(this.#socket, `give ${bytes} ${this.#start}\n`);
    for await (const part of this.#reader.exactly(bytes)) {
      hash.update(part);
      since += part.length;
      if (!slow || since < SLOW.bytes) continue;
      since = 0;
      await delay(SLOW.pauseMs);
    }
    return hash.digest('hex');
  }

  async take(bytes: number): Promise<string> {
    await send(this.#socket, `take ${bytes}\n`);
    for (const part of pattern(bytes, this.#start)) await send(this.#socket, part);
    return (await this.#reader.line()) ?? 'early-end';
  }

  async half(bytes: number): Promise<string> {
    const sending = (async () => {
      await send(this.#socket, 'copy\n');
      for (const part of pattern(bytes, this.#start)) await send(this.#socket, part);
      this.#socket.end();
    })();
    const hash = createHash('sha256');
    let came = 0;
    for (let part = await this.#reader.some(); part !== null; part = await this.#reader.some()) {
      hash.update(part);
      came += part.length;
    }
    await sending;
    return `${came}:${hash.digest('hex')}`;
  }

  close(): string {
    this.#socket.destroy();
    return 'closed';
  }
}

async function call(host: string, port: number, connections: number): Promise<void> {
  let callers: Caller[] = [];
  const open = async (index: number): Promise<Caller> => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    socket.on('error', () => {});
    await once(socket, 'connect');
    return new Caller(socket, index);
  };
  const one = (caller: Caller, what: string, a: number, b: number): Promise<string> | string => {
    if (what === 'requests') return caller.requests(a, b);
    if (what === 'give' || what === 'slow') return caller.give(a, what === 'slow');
    if (what === 'take') return caller.take(a);
    return what === 'half' ? caller.half(a) : caller.close();
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const [what = '', a = '0', b = '0'] = line.split(' ');
    const failed = (error: NodeJS.ErrnoException): string => `error:${error.code ?? error.message}`;
    if (what === 'open') {
      callers = await Promise.all(Array.from({ length: connections }, (_, index) => open(index)));
      process.stdout.write('opened\n');
      continue;
    }
    const answers = callers.map(async (caller) => one(caller, what, Number(a), Number(b)));
    process.stdout.write(`${(await Promise.all(answers.map((answer) => answer.catch(failed)))).join(' ')}\n`);
  }
}

const [mode, ...words] = process.argv.slice(2);
if (mode === 'serve') {
  createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => {});
    serve(socket).catch(() => socket.destroy());
  }).listen(Number(words[0]), '0.0.0.0');
} else await call(words[0] ?? '', Number(words[1]), Number(words[2]));
