/**
 * TCP sockets of a network namespace, listening and connected, asked of sock_diag. For listeners it walks only their table.
 * /proc/net/tcp walks the table of connections as well, whose buckets all namespaces share: 7 ms where this takes
 * 0.1. It is the fallback for a kernel that has no tcp_diag.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { addressFamily, formatAddress, parseAddress } from '../policy/address.ts';
import { NETLINK_SOCK_DIAG, netlinkAttributes, netlinkDump, openNetlink } from './netlink.ts';
import { inNetns } from './netns.ts';
import { LITTLE_ENDIAN, systemErrorCode } from './syscall.ts';

/** A connected TCP socket of a network namespace. */
export interface ConnectedSocket {
  family: 4 | 6;
  /** 16 bytes, network order; IPv4 behind ::ffff:0:0/96, whatever the socket's own family. */
  local: Uint8Array;
  remote: Uint8Array;
  /** Host order. */
  localPort: number;
  remotePort: number;
  /** Owner, in our user namespace. */
  uid: number;
}

/** A listening TCP socket of a network namespace. */
export interface Listener {
  /** The socket's own family: a dual-stack [::] listener is 6. */
  family: 4 | 6;
  /** Bound address, canonical text. */
  address: string;
  /** Host order. */
  port: number;
  /** Owner of the socket, in our user namespace. */
  uid: number;
  /** Inode in sockfs, as in /proc/PID/fd; of an MPTCP listener that of the MPTCP socket, which is what processes hold. */
  inode: bigint;
  /** The TCP part of an MPTCP listener. /proc/net/tcp does not tell. */
  multipath: boolean;
}

/**
 * TCP sockets that listen in the namespace, of both families.
 *
 * @param path of the namespace
 * @param port host order; without it, all
 * @throws as resolveNetns
 */
export function listeningSockets(path: string, port?: number): Listener[] {
  try {
    return listenersByDiag(path, port);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT' && systemErrorCode(error) !== 'EPROTONOSUPPORT') throw error;
    return listenersByProc(path, port);
  }
}

const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const SOCK_DIAG_BY_FAMILY = 20;
const TCP_ESTABLISHED = 1;
const TCP_LISTEN = 10;
/** Fixed part of an answer, struct inet_diag_msg. */
const ANSWER_BYTES = 72;
/** Bit of INET_DIAG_INFO, without which the kernel does not tell of upper protocols either. */
const WITH_INFO = 1 << 1;
/** Linux 5.4, told to those with CAP_NET_ADMIN: what runs on top of TCP in the socket. */
const INET_DIAG_ULP_INFO = 19;
const INET_ULP_INFO_NAME = 1;
/** struct inet_diag_req_v2. */
const REQUEST_BYTES = 56;

/** As listeningSockets, by sock_diag alone. Throws ENOENT where the kernel has no tcp_diag. */
export function listenersByDiag(path: string, port = 0): Listener[] {
  return diagSockets(path, TCP_LISTEN, port).map(diagListener);
}

/**
 * Established TCP connections of the namespace. This walks the table of connections that all namespaces share: some
 * milliseconds, so not for every pod at every pass.
 *
 * @throws as resolveNetns; ENOENT where the kernel has no tcp_diag
 */
export function connectedSockets(path: string): ConnectedSocket[] {
  return diagSockets(path, TCP_ESTABLISHED).map(diagConnection);
}

function diagSockets(path: string, state: number, port = 0): DataView[] {
  const socket = inNetns(path, () => openNetlink(NETLINK_SOCK_DIAG));
  try {
    return [AF_INET, AF_INET6].flatMap((family) =>
      netlinkDump(socket, SOCK_DIAG_BY_FAMILY, diagRequest(family, state, port)),
    );
  } finally {
    closeSync(socket);
  }
}

function diagRequest(family: number, state: number, port: number): Uint8Array {
  const request = new Uint8Array(REQUEST_BYTES);
  const view = new DataView(request.buffer);
  view.setUint8(0, family);
  view.setUint8(1, IPPROTO_TCP);
  if (state === TCP_LISTEN) view.setUint8(2, WITH_INFO);
  view.setUint32(4, 1 << state, LITTLE_ENDIAN);
  // struct inet_diag_sockid starts at 8 with the local port, network order; 0 asks for all.
  view.setUint16(8, port);
  return request;
}

/** @param message struct inet_diag_msg */
function diagListener(message: DataView): Listener {
  return {
    family: message.getUint8(0) === AF_INET ? 4 : 6,
    address: formatAddress(addressAt(message, 8)),
    port: message.getUint16(4),
    uid: message.getUint32(64, LITTLE_ENDIAN),
    inode: BigInt(message.getUint32(68, LITTLE_ENDIAN)),
    multipath: upperProtocol(message) === 'mptcp',
  };
}

/** @param message struct inet_diag_msg */
function diagConnection(message: DataView): ConnectedSocket {
  const remote = addressAt(message, 24);
  return {
    family: addressFamily(remote),
    local: addressAt(message, 8),
    remote,
    localPort: message.getUint16(4),
    remotePort: message.getUint16(6),
    uid: message.getUint32(64, LITTLE_ENDIAN),
  };
}

function addressAt(message: DataView, offset: number): Uint8Array {
  const family = message.getUint8(0) === AF_INET ? 4 : 6;
  const bytes = new Uint8Array(message.buffer, message.byteOffset + offset, family === 4 ? 4 : 16);
  return family === 4 ? mapped(bytes) : bytes;
}

function upperProtocol(message: DataView): string | null {
  const info = netlinkAttributes(message, ANSWER_BYTES).get(INET_DIAG_ULP_INFO);
  if (info === undefined) return null;
  const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
  const name = netlinkAttributes(view, 0).get(INET_ULP_INFO_NAME);
  return name === undefined ? null : Buffer.from(name).toString('latin1').replace(/\0.*$/, '');
}

/** TCP_LISTEN as /proc/net/tcp writes it. */
const STATE_LISTEN = '0A';

/** As listeningSockets, by /proc/net/tcp and tcp6 alone. */
export function listenersByProc(path: string, port?: number): Listener[] {
  // A file of /proc/net shows the namespace it was opened in, so only the opening happens inside.
  const files = inNetns(path, () => [openTable('tcp'), openTable('tcp6')]);
  const listeners: Listener[] = [];
  for (const [index, fd] of files.entries()) {
    if (fd === null) continue;
    try {
      listeners.push(...readTable(fd, index === 0 ? 4 : 6));
    } finally {
      closeSync(fd);
    }
  }
  return port === undefined ? listeners : listeners.filter((listener) => listener.port === port);
}

function openTable(name: string): number | null {
  try {
    return openSync(`/proc/thread-self/net/${name}`, 'r');
  } catch (error) {
    // No tcp6 where IPv6 is not built in.
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Listening sockets stand first in the table: reading ends at the first other row, however many connections follow. */
function readTable(fd: number, family: 4 | 6): Listener[] {
  const listeners: Listener[] = [];
  const buffer = Buffer.alloc(16_384);
  let rest = '';
  for (;;) {
    const length = readSync(fd, buffer);
    if (length === 0) return listeners;
    const lines = (rest + buffer.toString('latin1', 0, length)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const row = tableRow(line, family);
      if (row === 'heading') continue;
      if (row === null) return listeners;
      listeners.push(row);
    }
  }
}

function tableRow(line: string, family: 4 | 6): Listener | 'heading' | null {
  const [slot = '', local = '', , state, , , , uid, , inode = ''] = line.trim().split(/\s+/);
  if (slot === 'sl') return 'heading';
  if (state !== STATE_LISTEN) return null;
  const [address = '', port = ''] = local.split(':');
  // Each 32-bit word of the network-order address is printed as a number of the host.
  const bytes = Buffer.from(address, 'hex');
  if (LITTLE_ENDIAN) bytes.swap32();
  return {
    family,
    address: formatAddress(family === 4 ? mapped(bytes) : bytes),
    port: Number.parseInt(port, 16),
    uid: Number(uid),
    inode: BigInt(inode),
    multipath: false,
  };
}

/** @param ip4 four bytes, network order */
function mapped(ip4: Uint8Array): Uint8Array {
  const bytes = parseAddress(ip4.join('.'));
  if (bytes === null) throw new RangeError('an IPv4 address has 4 bytes');
  return bytes;
}
