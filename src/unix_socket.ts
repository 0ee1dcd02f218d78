/** Unix sockets that this process serves to root alone. */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { ShuntError } from './errors.ts';

/**
 * Makes the directory of a socket and takes away what an agent that died left there.
 *
 * @throws SHUNT_E_AGENT_RUNNING when somebody answers on it
 * @throws SHUNT_E_SOCKET when the path cannot be used
 */
export async function claimSocket(socket: string): Promise<void> {
  try {
    mkdirSync(dirname(socket), { recursive: true, mode: 0o755 });
  } catch (cause) {
    throw new ShuntError('SHUNT_E_SOCKET', 'its directory cannot be made', { target: socket, cause });
  }
  const found = lstatSync(socket, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new ShuntError('SHUNT_E_SOCKET', 'something that is not a socket stands there', { target: socket });
  if (await somebodyAnswers(socket)) {
    throw new ShuntError('SHUNT_E_AGENT_RUNNING', 'an agent answers on this socket', { target: socket });
  }
  unlinkSync(socket);
}

/** @throws SHUNT_E_SOCKET when that cannot be told */
export function somebodyAnswers(socket: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect(socket);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      // Refused: nobody listens. Gone: its owner removed it meanwhile. EAGAIN: a listener with a full queue.
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      else if (error.code === 'EAGAIN') resolve(true);
      else reject(new ShuntError('SHUNT_E_SOCKET', error.message, { target: socket, cause: error }));
    });
  });
}

export interface SocketServer extends AsyncDisposable {
  /** Ends once the server is closed and its socket file is gone. */
  readonly closed: Promise<void>;
}

/**
 * Listens on a socket that only root may open (mode 0600), until the signal.
 *
 * @param close makes the server close, whoever is connected
 * @throws SHUNT_E_SOCKET
 */
export async function serveRoot(
  server: Server,
  socket: string,
  signal: AbortSignal,
  close: () => void,
): Promise<SocketServer> {
  await listenForRoot(server, socket);
  const closed = new Promise<void>((resolve) => server.once('close', resolve));
  if (signal.aborted) close();
  else signal.addEventListener('abort', close, { once: true });
  return {
    closed,
    async [Symbol.asyncDispose]() {
      signal.removeEventListener('abort', close);
      if (server.listening) close();
      await closed;
    },
  };
}

function listenForRoot(server: Server, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new ShuntError('SHUNT_E_SOCKET', cause.message, { target: socket, cause })),
    );
    // bind() happens inside listen(), so the file never exists with a wider mode, not even for a moment.
    const mask = process.umask(0o177);
    try {
      server.listen(socket, () => {
        chmodSync(socket, 0o600);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}
