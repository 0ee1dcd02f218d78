/** Serves the CNI plugin of this node: one call a connection, on a unix socket that only root may open. */
import { createServer, type Socket } from 'node:net';
import * as v from 'valibot';
import { ShuntError } from '../errors.ts';
import { peerUid } from '../pod/syscall.ts';
import { claimSocket, type SocketServer, serveRoot } from '../unix_socket.ts';
import { type AttachmentId, type CniCall, readCall } from './call.ts';
import { cniFailure } from './failure.ts';
import { answerText, CallReader, type RawCall } from './protocol.ts';

export type AddCall = Extract<CniCall, { command: 'ADD' | 'CHECK' }>;
export type DelCall = Extract<CniCall, { command: 'DEL' }>;

/** What the calls are about. Each throws a ShuntError where it fails; the server makes CNI's own error of it. */
export interface CniHandlers {
  /** Resolves when the pod is in force, or is known to be left alone. */
  add(call: AddCall, signal: AbortSignal): Promise<void>;
  /** Takes the attachment away; one that is not known is no error. */
  del(call: DelCall): Promise<void>;
  /** @throws SHUNT_E_CNI_NOT_ENROLLED when the kernel does not hold what ADD put there */
  check(call: AddCall): Promise<void>;
  /** Takes away every attachment of the network that is not in the list; nothing without one. */
  gc(network: string, valid: readonly AttachmentId[] | null): Promise<void>;
  /** @throws SHUNT_E_CNI_NOT_READY when ADD could not be served */
  status(): Promise<void>;
}

/** The part of a pino logger that is used here. */
export interface CniLog {
  info(object: object, message: string): void;
  warn(object: object, message: string): void;
}

/** `try-again` is error 11 of the specification, upon which the runtime calls again. */
export type CallResult = 'ok' | 'try-again' | 'failed';
const TRY_AGAIN = 11;

export interface CniServerOptions {
  /** Path of the unix socket. */
  socket: string;
  handlers: CniHandlers;
  /** Closes the server; calls in hand are broken off. */
  signal: AbortSignal;
  log: CniLog;
  /** Told of each call that was answered; of what could not be read the command is unknown. */
  served?(command: CniCall['command'] | 'unknown', result: CallResult, tookMs: number): void;
  /** A call must have arrived whole within this. Default 5 s. */
  callDeadlineMs?: number;
}

/** A node that boots starts its pods at once; more than these wait in the kernel's queue or are told to try again. */
const MAX_CONNECTIONS = 512;

/**
 * @throws SHUNT_E_AGENT_RUNNING when somebody answers on the socket already
 * @throws SHUNT_E_SOCKET when the path cannot be used
 */
export async function serveCni(options: CniServerOptions): Promise<SocketServer> {
  const { socket: path, log, signal } = options;
  await claimSocket(path);
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    converse(socket, options).catch((error: unknown) => {
      log.warn({ event: 'cni-failed', err: error }, 'a connection of the CNI socket failed');
      socket.destroy();
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  const close = () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  const serving = await serveRoot(server, path, signal, close);
  log.info({ event: 'cni-listening', socket: path }, 'CNI socket is listening');
  return serving;
}

async function converse(socket: Socket, options: CniServerOptions): Promise<void> {
  const left = new AbortController();
  socket.on('error', () => {});
  socket.once('close', () => left.abort());
  const peer = uidOf(socket);
  if (peer !== 0) {
    options.log.warn({ event: 'cni-stranger', uid: peer }, 'somebody who is not root calls; not heard');
    socket.destroy();
    return;
  }
  const startedMs = performance.now();
  let stdin = '';
  let answer: string;
  try {
    const raw = await readRaw(socket, options.callDeadlineMs ?? 5_000);
    // It left without a word, as somebody does who only looks whether the agent is there.
    if (raw === null) return;
    stdin = raw.stdin;
    answer = await serveCall(raw, options, left.signal);
  } catch (error) {
    const { code, reason, message, text } = cniFailure(error, stdin);
    options.log.warn({ event: 'cni-rejected', code, reason }, message);
    options.served?.('unknown', 'failed', performance.now() - startedMs);
    answer = answerText(code, text);
  }
  if (!socket.destroyed) socket.end(answer);
}

/** Where the pair of a unix socket is told; Node has no name for it, and libuv keeps the descriptor here. */
const WithDescriptor = v.object({ _handle: v.object({ fd: v.pipe(v.number(), v.minValue(0)) }) });

/** Null where the other end cannot be told, and is then not trusted. */
function uidOf(socket: Socket): number | null {
  const parsed = v.safeParse(WithDescriptor, socket);
  return parsed.success ? peerUid(parsed.output._handle.fd) : null;
}

function readRaw(socket: Socket, deadlineMs: number): Promise<RawCall | null> {
  const reader = new CallReader();
  let bytes = 0;
  return new Promise((resolve, reject) => {
    const late = () => reject(new ShuntError('SHUNT_E_CNI_REQUEST', 'it did not come whole in time'));
    const timer = setTimeout(late, deadlineMs);
    socket.once('close', () => {
      clearTimeout(timer);
      if (bytes === 0) resolve(null);
      else reject(new ShuntError('SHUNT_E_CNI_REQUEST', 'it broke off'));
    });
    socket.on('data', (piece) => {
      bytes += piece.length;
      try {
        const call = reader.push(Buffer.from(piece));
        if (call === null) return;
        clearTimeout(timer);
        resolve(call);
      } catch (error) {
        clearTimeout(timer);
        reject(error);
      }
    });
  });
}

async function serveCall(raw: RawCall, options: CniServerOptions, signal: AbortSignal): Promise<string> {
  const { handlers, log, served } = options;
  const startedMs = performance.now();
  const call = readCall(raw.variables, raw.stdin);
  const about = describe(call);
  const done = (result: CallResult): number => {
    const tookMs = performance.now() - startedMs;
    served?.(call.command, result, tookMs);
    return Math.round(tookMs * 100) / 100;
  };
  try {
    await perform(call, handlers, signal);
    log.info({ event: 'cni', ...about, tookMs: done('ok') }, `CNI ${call.command}`);
    return answerText(0, '');
  } catch (error) {
    const { code, reason, message, text } = cniFailure(error, raw.stdin);
    const tookMs = done(code === TRY_AGAIN ? 'try-again' : 'failed');
    log.warn({ event: 'cni', ...about, tookMs, code, reason }, `CNI ${call.command}: ${message}`);
    return answerText(code, text);
  }
}

function perform(call: CniCall, handlers: CniHandlers, signal: AbortSignal): Promise<void> {
  switch (call.command) {
    case 'ADD':
      return handlers.add(call, signal);
    case 'CHECK':
      return handlers.check(call);
    case 'DEL':
      return handlers.del(call);
    case 'GC':
      return handlers.gc(call.network, call.valid);
    case 'STATUS':
      return handlers.status();
  }
}

function describe(call: CniCall): object {
  const { command, network } = call;
  if (!('containerId' in call)) return { command, network };
  const { containerId, ifname, pod } = call;
  return { command, network, containerId, ifname, pod: pod && `${pod.namespace}/${pod.name}` };
}
