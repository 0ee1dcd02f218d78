/** The pieces of a rule, in the order and spelling of iptables-save. Numbers and canonical addresses only. */
import { ShuntError } from '../../errors.ts';
import { type AddressFamily, formatAddress, parseAddress } from '../../policy/address.ts';
import { type Cidr, formatCidr, parseCidr } from '../../policy/cidr.ts';
import type { IdRange, PortRange } from '../../policy/policy.ts';

/** References that one multiport match takes; a range counts as two (XT_MULTI_PORTS). */
const MULTIPORT_REFERENCES = 15;
/** IFNAMSIZ less its zero; a name that begins with a hyphen would be read as an option. */
const INTERFACE = /^[A-Za-z0-9_.][A-Za-z0-9_.:@-]{0,14}$/;

/** The blocks of one family, in their order, as `-s` and `-d` take them. */
export function blocks(texts: readonly string[], family: AddressFamily): string[] {
  return texts
    .map(cidrOf)
    .filter((cidr) => cidr.family === family)
    .map(formatCidr);
}

function cidrOf(text: string): Cidr {
  return parseCidr(text) ?? refuse(text, 'CIDR');
}

/** The addresses of one family, as blocks of one address. */
export function hosts(texts: readonly string[], family: AddressFamily): string[] {
  return texts.filter((text) => text.includes(':') === (family === 6)).map((text) => hostBlock(text));
}

export function hostBlock(text: string): string {
  return `${address(text)}/${text.includes(':') ? 128 : 32}`;
}

export function address(text: string): string {
  return formatAddress(parseAddress(text) ?? refuse(text, 'address'));
}

/** Where DNAT goes: `1.2.3.4:53` or `[fd00::1]:53`. */
export function destination(text: string, port: number): string {
  const host = address(text);
  return `${text.includes(':') ? `[${host}]` : host}:${number(port)}`;
}

/**
 * Matches that together cover the ports, each for a rule of its own.
 *
 * @param protocol `tcp` or `udp`
 */
export function portMatches(protocol: 'tcp' | 'udp', ranges: readonly PortRange[]): string[] {
  const matches: string[] = [];
  let group: string[] = [];
  let references = 0;
  const close = (): void => {
    if (group.length > 0) matches.push(portMatch(protocol, group));
    group = [];
    references = 0;
  };
  for (const { first, last } of ranges) {
    const weight = first === last ? 1 : 2;
    if (references + weight > MULTIPORT_REFERENCES) close();
    group.push(first === last ? String(number(first)) : `${number(first)}:${number(last)}`);
    references += weight;
  }
  close();
  return matches;
}

function portMatch(protocol: string, group: readonly string[]): string {
  return group.length === 1
    ? `-p ${protocol} -m ${protocol} --dport ${group[0]}`
    : `-p ${protocol} -m multiport --dports ${group.join(',')}`;
}

/** tcp, but for these ports. */
export function tcpExcept(ports: readonly number[]): string {
  if (ports.length === 0) return '-p tcp';
  return ports.length === 1
    ? `-p tcp -m tcp ! --dport ${number(ports[0])}`
    : `-p tcp -m multiport ! --dports ${ports.map(number).join(',')}`;
}

export type Owner = { kind: 'uid' | 'gid'; id: number };

export function owner({ kind, id }: Owner): string {
  return `-m owner --${kind}-owner ${number(id)}`;
}

export function notOwner({ kind, id }: Owner): string {
  return `-m owner ! --${kind}-owner ${number(id)}`;
}

export function uidRange({ first, last }: IdRange): string {
  return `-m owner --uid-owner ${first === last ? number(first) : `${number(first)}-${number(last)}`}`;
}

/** An interface's name; a `+` at its end stands for any ending, as iptables has it. */
export function interfaceName(text: string): string {
  return INTERFACE.test(text.replace(/\+$/, '')) && text.length <= 15 ? text : refuse(text, 'interface name');
}

export function number(value: number | undefined): number {
  return value !== undefined && Number.isInteger(value) && value >= 0
    ? value
    : refuse(String(value), 'number');
}

/** @throws SHUNT_E_POLICY always: a value that validation lets through and a rule cannot hold */
function refuse(value: string, kind: string): never {
  throw new ShuntError('SHUNT_E_POLICY', `${JSON.stringify(value)} is no ${kind}`);
}
