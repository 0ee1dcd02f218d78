/**
 * A client that does what it is told, one JSON command a line on standard input, one JSON answer a line on
 * standard output ({"id", ...}). Addresses it reports are those of the socket calls: `local` is getsockname(2),
 * `remote` is getpeername(2).
 *
 * Runs as a plain script, copied to where its uid can read it: it imports nothing of ours.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

interface Target {
  host: string;
  port: number;
}
interface Who {
  name: string;
  peer: string;
  local: string;
}
/** What a soak saw of one target. Failures are errno names. */
interface TargetTally {
  host: string;
  port: number;
  /** Requests answered on the connection that stays open. */
  requests: number;
  /** Connections made, used once and closed; failed ones included. */
  connections: number;
  failures: string[];
  /** Own addresses of connections at whose far end the server saw just that address: no proxy stood between. */
  direct: string[];
  /** Hosts, without port, that the server saw as its peer. */
  seen: string[];
  /** What getpeername(2) said. */
  peernames: string[];
}
type Command =
  | { id: number; do: 'connect'; conn: string; host: string; port: number }
  | { id: number; do: 'who' | 'close'; conn: string }
  | { id: number; do: 'exchange'; conn: string; requests: number; bytes: number }
  | { id: number; do: 'soak'; targets: Target[]; everyMs: number }
  | { id: number; do: 'tally'; connections: number }
  | { id: number; do: 'halt' };

const ANSWER_TIMEOUT_MS = 10_000 * Number(process.env.SHUNT_LAB_PATIENCE ?? '1');

function endpoint(address: string | undefined, port: number | undefined): string {
  return address?.includes(':') === true ? `[${address}]:${port}` : `${address}:${port}`;
}

/** One connection; a request waits for its answer, so there is at most one waiter. */
class Connection {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #length = 0;
  #failure: string | null = null;
  #wake: (() => void) | null = null;
  local = '';
  remote = '';

  constructor(target: Target) {
    this.socket = connect({ ...target, noDelay: true });
    this.socket.on('data', (chunk) => {
      this.#received.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(error.code ?? error.message));
    this.socket.on('close', () => this.#fail('closed'));
    this.socket.on('connect', () => {
      this.local = endpoint(this.socket.localAddress, this.socket.localPort);
      this.remote = endpoint(this.socket.remoteAddress, this.socket.remotePort);
      this.#wake?.();
    });
  }

  #fail(reason: string): void {
    this.#failure ??= reason;
    this.#wake?.();
  }

  async #until(ready: () => boolean): Promise<void> {
    const late = setTimeout(() => this.#fail('no answer'), ANSWER_TIMEOUT_MS);
    try {
      while (!ready()) {
        if (this.#failure !== null) throw new Error(this.#failure);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(late);
    }
  }

  async connected(): Promise<void> {
    await this.#until(() => this.remote !== '');
  }

  #take(): Buffer {
    const all = Buffer.concat(this.#received);
    this.#received = [];
    this.#length = 0;
    return all;
  }

  async who(): Promise<Who> {
    this.socket.write('WHO\n');
    await this.#until(() => this.#received.at(-1)?.at(-1) === 0x0a);
    return JSON.parse(this.#take().toString()) as Who;
  }

  /** Request and answer of `bytes` each; throws when the answer differs. */
  async echo(bytes: number): Promise<void> {
    const message = Buffer.allocUnsafe(bytes);
    for (let at = 0; at < bytes; at++) message[at] = Math.random() * 256;
    this.socket.write(Buffer.concat([Buffer.from(`ECHO ${bytes}\n`), message]));
    await this.#until(() => this.#length >= bytes);
    if (!this.#take().equals(message)) throw new Error('the echo differs from what was sent');
  }

  close(): void {
    this.socket.destroy();
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function note(list: string[], value: string): void {
  if (!list.includes(value)) list.push(value);
}

class Soak {
  readonly tallies: TargetTally[];
  #running = true;
  readonly #done: Promise<unknown>;
  #watchers: { at: number; resolve: () => void }[] = [];

  constructor(targets: Target[], everyMs: number) {
    this.tallies = targets.map(({ host, port }) => ({
      host,
      port,
      requests: 0,
      connections: 0,
      failures: [],
      direct: [],
      seen: [],
      peernames: [],
    }));
    this.#done = Promise.all(
      this.tallies.flatMap((tally) => [this.#stay(tally, everyMs), this.#renew(tally, everyMs)]),
    );
  }

  get #connections(): number {
    return this.tallies.reduce((sum, { connections }) => sum + connections, 0);
  }

  async #stay(tally: TargetTally, everyMs: number): Promise<void> {
    const connection = new Connection(tally);
    try {
      await connection.connected();
      while (this.#running) {
        await connection.echo(512);
        tally.requests++;
        await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
    } catch (error) {
      note(tally.failures, `${reason(error)} on the old connection`);
    } finally {
      connection.close();
    }
  }

  async #renew(tally: TargetTally, everyMs: number): Promise<void> {
    while (this.#running) {
      const connection = new Connection(tally);
      try {
        await connection.connected();
        const who = await connection.who();
        if (who.peer === connection.local) tally.direct.push(connection.local);
        note(tally.seen, who.peer.slice(0, who.peer.lastIndexOf(':')));
        note(tally.peernames, connection.remote);
      } catch (error) {
        note(tally.failures, `${reason(error)} on a new connection`);
      } finally {
        connection.close();
      }
      tally.connections++;
      this.#watchers = this.#watchers.filter(({ at, resolve }) => {
        if (this.#connections < at) return true;
        resolve();
        return false;
      });
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  /** Resolves when that many more connections have been tried. */
  more(connections: number): Promise<void> {
    return new Promise((resolve) => this.#watchers.push({ at: this.#connections + connections, resolve }));
  }

  async halt(): Promise<void> {
    this.#running = false;
    await this.#done;
  }
}

const connections = new Map<string, Connection>();
let soak: Soak | null = null;

function open(name: string): Connection {
  const connection = connections.get(name);
  if (connection === undefined) throw new Error(`no connection ${name}`);
  return connection;
}

async function obey(command: Command): Promise<object> {
  switch (command.do) {
    case 'connect': {
      const connection = new Connection({ host: command.host, port: command.port });
      connections.set(command.conn, connection);
      await connection.connected();
      return { local: connection.local, remote: connection.remote };
    }
    case 'who':
      return open(command.conn).who();
    case 'exchange': {
      const connection = open(command.conn);
      for (let done = 0; done < command.requests; done++) await connection.echo(command.bytes);
      return { sent: command.requests * command.bytes };
    }
    case 'close':
      open(command.conn).close();
      connections.delete(command.conn);
      return {};
    case 'soak':
      soak = new Soak(command.targets, command.everyMs);
      return {};
    case 'tally':
      if (soak === null) throw new Error('nothing to count');
      await soak.more(command.connections);
      return { targets: soak.tallies };
    case 'halt': {
      if (soak === null) throw new Error('nothing to halt');
      await soak.halt();
      return { targets: soak.tallies };
    }
  }
}

process.stdout.write('{"ready":true}\n');
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line) as Command;
    obey(command).then(
      (answer) => process.stdout.write(`${JSON.stringify({ id: command.id, ok: true, ...answer })}\n`),
      (error: unknown) =>
        process.stdout.write(`${JSON.stringify({ id: command.id, ok: false, error: reason(error) })}\n`),
    );
  })
  .on('close', () => process.exit(0));
