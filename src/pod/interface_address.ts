import { formatAddress, parseAddress } from '../policy/address.ts';
import { netlinkAttributes, netlinkDump } from './netlink.ts';
import { LITTLE_ENDIAN } from './syscall.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const RTM_GETADDR = 22;
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;

/**
 * Every address of every interface, canonical text, in the order of interfaces and of addresses on each; the first
 * global one of a family is what iptables' REDIRECT would choose on the pod's first interface.
 *
 * @param socket of NETLINK_ROUTE, made in the network namespace asked about
 */
export function interfaceAddresses(socket: number): string[] {
  // All zero: AF_UNSPEC, which is both families.
  return netlinkDump(socket, RTM_GETADDR, new Uint8Array(IFADDRMSG_BYTES))
    .map((message) => ({ interfaceIndex: message.getUint32(4, LITTLE_ENDIAN), address: ownAddress(message) }))
    .sort((a, b) => a.interfaceIndex - b.interfaceIndex)
    .flatMap(({ address }) => address ?? []);
}

/** @param message struct ifaddrmsg and its attributes */
function ownAddress(message: DataView): string | null {
  const family = message.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) return null;
  const attributes = netlinkAttributes(message, IFADDRMSG_BYTES);
  // On a point-to-point link IFA_ADDRESS is the other end's.
  const value = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (value === undefined) return null;
  const bytes = family === AF_INET ? parseAddress(value.join('.')) : value;
  return bytes === null ? null : formatAddress(bytes);
}
