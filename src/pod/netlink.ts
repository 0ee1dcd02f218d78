/**
 * Addresses of a network namespace, asked of rtnetlink. A socket stays in the namespace where it was made, so
 * only its creation needs the thread to be inside.
 */
import { readSync, writeSync } from 'node:fs';
import { formatAddress, parseAddress } from '../policy/address.ts';
import { LITTLE_ENDIAN, openSocket } from './syscall.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;

const AF_INET = 2;
const AF_INET6 = 10;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const NLM_F_REQUEST = 0x1;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;

const HEADER_BYTES = 16;
const IFADDRMSG_BYTES = 8;
/** The kernel never fills more than 32 KiB of one read of a dump. */
const READ_BYTES = 65_536;
const DUMP_ATTEMPTS = 5;

/** A route socket of the calling thread's network namespace. The caller closes it. */
export function openRouteSocket(): number {
  return openSocket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

/**
 * Every address of every interface, canonical text, in the order of interfaces and of addresses on each; the first
 * global one of a family is what iptables' REDIRECT would choose on the pod's first interface.
 *
 * @param socket from openRouteSocket()
 */
export function interfaceAddresses(socket: number): string[] {
  for (let attempt = 1; ; attempt++) {
    const dump = dumpAddresses(socket);
    if (!dump.interrupted || attempt === DUMP_ATTEMPTS) {
      return dump.rows.sort((a, b) => a.interfaceIndex - b.interfaceIndex).map((row) => row.address);
    }
  }
}

interface AddressRow {
  interfaceIndex: number;
  address: string;
}

function dumpAddresses(socket: number): { rows: AddressRow[]; interrupted: boolean } {
  writeSync(socket, dumpRequest());
  const rows: AddressRow[] = [];
  let interrupted = false;
  const buffer = new Uint8Array(READ_BYTES);
  for (;;) {
    const length = readSync(socket, buffer);
    const view = new DataView(buffer.buffer, 0, length);
    for (let at = 0; at + HEADER_BYTES <= length; ) {
      const messageBytes = view.getUint32(at, LITTLE_ENDIAN);
      const type = view.getUint16(at + 4, LITTLE_ENDIAN);
      if ((view.getUint16(at + 6, LITTLE_ENDIAN) & NLM_F_DUMP_INTR) !== 0) interrupted = true;
      if (type === NLMSG_DONE) return { rows, interrupted };
      if (type === NLMSG_ERROR) {
        throw new Error(
          `rtnetlink refused the address dump: errno ${-view.getInt32(at + HEADER_BYTES, LITTLE_ENDIAN)}`,
        );
      }
      if (type === RTM_NEWADDR) {
        const row = addressRow(new DataView(buffer.buffer, at + HEADER_BYTES, messageBytes - HEADER_BYTES));
        if (row !== null) rows.push(row);
      }
      at += align(Math.max(messageBytes, HEADER_BYTES));
    }
  }
}

function dumpRequest(): Uint8Array {
  const request = new Uint8Array(HEADER_BYTES + IFADDRMSG_BYTES);
  const view = new DataView(request.buffer);
  view.setUint32(0, request.length, LITTLE_ENDIAN);
  view.setUint16(4, RTM_GETADDR, LITTLE_ENDIAN);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, LITTLE_ENDIAN);
  // The rest zero: sequence, port, and AF_UNSPEC for both families.
  return request;
}

/** @param message struct ifaddrmsg and its attributes */
function addressRow(message: DataView): AddressRow | null {
  const family = message.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) return null;
  const attributes = new Map<number, Uint8Array>();
  for (let at = IFADDRMSG_BYTES; at + 4 <= message.byteLength; ) {
    const attributeBytes = message.getUint16(at, LITTLE_ENDIAN);
    const type = message.getUint16(at + 2, LITTLE_ENDIAN);
    attributes.set(
      type,
      new Uint8Array(message.buffer, message.byteOffset + at + 4, Math.max(0, attributeBytes - 4)),
    );
    at += align(Math.max(attributeBytes, 4));
  }
  // On a point-to-point link IFA_ADDRESS is the other end's.
  const value = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (value === undefined) return null;
  const bytes = family === AF_INET ? parseAddress(value.join('.')) : value;
  if (bytes === null) return null;
  return { interfaceIndex: message.getUint32(4, LITTLE_ENDIAN), address: formatAddress(bytes) };
}

const align = (bytes: number) => (bytes + 3) & ~3;
