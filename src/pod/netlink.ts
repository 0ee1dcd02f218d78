/**
 * Dumps and changes over netlink, synchronous. A socket stays in the network namespace where it was made, so only its creation
 * needs the thread to be inside.
 */
import { readSync, writeSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { LITTLE_ENDIAN, openSocket } from './syscall.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;

const HEADER_BYTES = 16;
/** The kernel never fills more than 32 KiB of one read of a dump. */
const READ_BYTES = 65_536;
const DUMP_ATTEMPTS = 5;

/** A netlink socket of the calling thread's network namespace. The caller closes it. */
export function openNetlink(protocol: number): number {
  return openSocket(AF_NETLINK, SOCK_RAW, protocol);
}

/**
 * The messages of a dump, without their headers. A dump that a change interrupted is asked for again.
 *
 * @param socket from openNetlink()
 * @param type of the request
 * @param payload of the request, host byte order
 * @throws Error with the `code` that the kernel answered
 */
export function netlinkDump(socket: number, type: number, payload: Uint8Array): DataView[] {
  for (let attempt = 1; ; attempt++) {
    writeSync(socket, requestOf(type, NLM_F_DUMP, payload));
    const { messages, interrupted } = readDump(socket);
    if (!interrupted || attempt === DUMP_ATTEMPTS) return messages;
  }
}

/**
 * One request that the kernel carries out or refuses.
 *
 * @param flags NLM_F_* beside those of a request
 * @throws Error with the `code` that the kernel answered
 */
export function netlinkChange(socket: number, type: number, flags: number, payload: Uint8Array): void {
  writeSync(socket, requestOf(type, NLM_F_ACK | flags, payload));
  const buffer = new Uint8Array(READ_BYTES);
  readSync(socket, buffer);
  const errno = new DataView(buffer.buffer).getInt32(HEADER_BYTES, LITTLE_ENDIAN);
  if (errno !== 0) throw answeredError(errno);
}

function requestOf(type: number, flags: number, payload: Uint8Array): Uint8Array {
  const request = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(request.buffer);
  view.setUint32(0, request.length, LITTLE_ENDIAN);
  view.setUint16(4, type, LITTLE_ENDIAN);
  view.setUint16(6, NLM_F_REQUEST | flags, LITTLE_ENDIAN);
  request.set(payload, HEADER_BYTES);
  return request;
}

/** Every dump is read to its end before the next begins. */
const READ_BUFFER = new Uint8Array(READ_BYTES);

function readDump(socket: number): { messages: DataView[]; interrupted: boolean } {
  const messages: DataView[] = [];
  let interrupted = false;
  for (;;) {
    const length = readSync(socket, READ_BUFFER);
    const view = new DataView(READ_BUFFER.slice(0, length).buffer);
    for (let at = 0; at + HEADER_BYTES <= length; ) {
      const messageBytes = Math.max(view.getUint32(at, LITTLE_ENDIAN), HEADER_BYTES);
      const type = view.getUint16(at + 4, LITTLE_ENDIAN);
      if ((view.getUint16(at + 6, LITTLE_ENDIAN) & NLM_F_DUMP_INTR) !== 0) interrupted = true;
      if (type === NLMSG_DONE) return { messages, interrupted };
      if (type === NLMSG_ERROR) throw answeredError(view.getInt32(at + HEADER_BYTES, LITTLE_ENDIAN));
      messages.push(new DataView(view.buffer, at + HEADER_BYTES, messageBytes - HEADER_BYTES));
      at += align(messageBytes);
    }
  }
}

function answeredError(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${code}, netlink`), { code, errno, syscall: 'netlink' });
}

/**
 * Attributes of a message by type.
 *
 * @param offset where they start: the size of the fixed part
 */
export function netlinkAttributes(message: DataView, offset: number): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  for (let at = offset; at + 4 <= message.byteLength; ) {
    const attributeBytes = Math.max(message.getUint16(at, LITTLE_ENDIAN), 4);
    const type = message.getUint16(at + 2, LITTLE_ENDIAN);
    attributes.set(type, new Uint8Array(message.buffer, message.byteOffset + at + 4, attributeBytes - 4));
    at += align(attributeBytes);
  }
  return attributes;
}

const align = (bytes: number) => (bytes + 3) & ~3;
