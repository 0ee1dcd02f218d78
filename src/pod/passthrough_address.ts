/**
 * ::6 on lo: a sidecar binds to it for its own way to the application. 127.0.0.6 needs no such thing. What we add carries
 * a mark, so that an address that the mesh's init container put there is never taken away.
 */
import { closeSync } from 'node:fs';
import { ShuntError } from '../errors.ts';
import { parseAddress } from '../policy/address.ts';
import { NETLINK_ROUTE, netlinkAttributes, netlinkChange, netlinkDump, openNetlink } from './netlink.ts';
import { inNetns } from './netns.ts';
import { LITTLE_ENDIAN, systemErrorCode } from './syscall.ts';
import type { Workload } from './workload.ts';

export const PASSTHROUGH_6 = '::6';
/** Metric of the address's prefix route, of which a /128 on lo has none: nothing but a number that the kernel keeps (4.18). */
const MARK = 0x5348;

const AF_INET6 = 10;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const NLM_F_EXCL_CREATE = 0x200 | 0x400;
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_RT_PRIORITY = 9;
const IFA_F_NODAD = 0x02;
/** Of every network namespace (LOOPBACK_IFINDEX). */
const LO = 1;

/** The policy leaves what comes from ::6 alone, so its sidecar binds to it. */
export function wantsPassthrough({ policy, ip6 }: Workload): boolean {
  return policy.loopback.passthroughSource && policy.families.ip6 && ip6 !== null;
}

/**
 * @param netns path of the namespace
 * @returns false when it is there already
 * @throws SHUNT_E_PASSTHROUGH_ADDRESS, and as resolveNetns
 */
export function addPassthrough(netns: string): boolean {
  return change(netns, RTM_NEWADDR, NLM_F_EXCL_CREATE, 'EEXIST');
}

/** Removes the address if it is ours; it may be gone already. Throws as addPassthrough. */
export function removePassthrough(netns: string): void {
  if (isOurs(netns)) change(netns, RTM_DELADDR, 0, 'EADDRNOTAVAIL');
}

function isOurs(netns: string): boolean {
  const wanted = Buffer.from(addressBytes());
  return withSocket(netns, (socket) =>
    netlinkDump(socket, RTM_GETADDR, header()).some((message) => {
      const attributes = netlinkAttributes(message, IFADDRMSG_BYTES);
      const mark = attributes.get(IFA_RT_PRIORITY);
      const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
      if (mark === undefined || address === undefined || !wanted.equals(address)) return false;
      return new DataView(mark.buffer, mark.byteOffset).getUint32(0, LITTLE_ENDIAN) === MARK;
    }),
  );
}

/** @returns false when the kernel says that there is nothing to do */
function change(netns: string, type: number, flags: number, idle: string): boolean {
  try {
    withSocket(netns, (socket) => netlinkChange(socket, type, flags, request()));
    return true;
  } catch (cause) {
    if (cause instanceof ShuntError) throw cause;
    if (systemErrorCode(cause) === idle) return false;
    throw new ShuntError('SHUNT_E_PASSTHROUGH_ADDRESS', String(cause), { target: netns, cause });
  }
}

function withSocket<T>(netns: string, use: (socket: number) => T): T {
  const socket = inNetns(netns, () => openNetlink(NETLINK_ROUTE));
  try {
    return use(socket);
  } finally {
    closeSync(socket);
  }
}

/** struct ifaddrmsg, for a dump of IPv6 addresses. */
function header(): Uint8Array {
  return Uint8Array.of(AF_INET6, 0, 0, 0, 0, 0, 0, 0);
}

/** struct ifaddrmsg and attributes. */
function request(): Uint8Array {
  const bytes = new Uint8Array(IFADDRMSG_BYTES + 20 + 8);
  const view = new DataView(bytes.buffer);
  bytes.set([AF_INET6, 128, IFA_F_NODAD, 0]);
  view.setUint32(4, LO, LITTLE_ENDIAN);
  view.setUint16(8, 20, LITTLE_ENDIAN);
  view.setUint16(10, IFA_LOCAL, LITTLE_ENDIAN);
  bytes.set(addressBytes(), 12);
  view.setUint16(28, 8, LITTLE_ENDIAN);
  view.setUint16(30, IFA_RT_PRIORITY, LITTLE_ENDIAN);
  view.setUint32(32, MARK, LITTLE_ENDIAN);
  return bytes;
}

function addressBytes(): Uint8Array {
  const bytes = parseAddress(PASSTHROUGH_6);
  if (bytes === null) throw new RangeError(PASSTHROUGH_6);
  return bytes;
}
