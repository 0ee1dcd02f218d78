import * as v from 'valibot';
import { ShuntError } from '../../errors.ts';
import { addressFamily, formatAddress, parseAddress } from '../../policy/address.ts';

/** A connection to explain. Addresses are 16 bytes in network order, with their text. */
export type Question =
  | {
      direction: 'outbound';
      protocol: 'tcp' | 'udp';
      family: 4 | 6;
      to: Address;
      port: number;
      /** Bound source; null when the socket is not bound. */
      from: Address | null;
      uid: number;
      gid: number;
    }
  | { direction: 'inbound'; protocol: 'tcp' | 'udp'; family: 4 | 6; from: Address; port: number };

export interface Address {
  text: string;
  bytes: Uint8Array;
}

const word = v.optional(v.string());
const Options = v.object({
  to: word,
  uid: word,
  gid: word,
  from: word,
  port: word,
  udp: v.optional(v.boolean(), false),
  inbound: v.optional(v.boolean(), false),
});

/** Highest uid and gid that a process can have; 2^32 - 1 means "no change". */
const MAX_ID = 0xffff_fffe;

/** @throws SHUNT_E_USAGE for options that contradict one another, are missing or are no address, port or id */
export function readQuestion(given: unknown): Question {
  const { to, uid, gid, from, port, udp, inbound } = v.parse(Options, given);
  const protocol = udp ? 'udp' : 'tcp';
  if (inbound) {
    refuse({ '--to': to, '--uid': uid, '--gid': gid }, 'has no meaning with --inbound', 'leave it out');
    const source = address('--from', need('--from', from));
    return {
      direction: 'inbound',
      protocol,
      family: addressFamily(source.bytes),
      from: source,
      port: portOf('--port', need('--port', port)),
    };
  }
  refuse({ '--port': port }, 'is for --inbound', 'give the port behind the address: --to IP:PORT');
  const [host, targetPort] = endpoint(need('--to', to));
  const target = address('--to', host);
  const source = from === undefined ? null : address('--from', from);
  const family = addressFamily(target.bytes);
  if (source !== null && addressFamily(source.bytes) !== family) {
    throw usage('--from and --to are of different families', 'give both as IPv4, or both as IPv6');
  }
  const owner = idOf('--uid', need('--uid', uid));
  const group = gid === undefined ? owner : idOf('--gid', gid);
  const place = { to: target, port: portOf('--to', targetPort), from: source };
  return { direction: 'outbound', protocol, family, ...place, uid: owner, gid: group };
}

function refuse(options: Record<string, string | undefined>, why: string, fix: string): void {
  const present = Object.entries(options).find(([, value]) => value !== undefined);
  if (present !== undefined) throw usage(`${present[0]} ${why}`, fix);
}

function need(option: string, value: string | undefined): string {
  if (value !== undefined) return value;
  const form = ['--to', '--uid'].includes(option) ? '--to IP:PORT --uid UID' : '--inbound --from IP --port N';
  throw usage(`${option} is missing`, `\`shunt explain -f FILE ${form}\``);
}

/** `10.0.0.1:80` and `[2001:db8::1]:80`. */
function endpoint(text: string): [string, string] {
  const found = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(text);
  if (found === null) {
    throw usage(`--to ${text} is not IP:PORT`, 'such as 10.0.0.1:80, or [2001:db8::1]:80 for IPv6');
  }
  return [found[1] ?? found[2] ?? '', found[3] ?? ''];
}

function address(option: string, text: string): Address {
  const bytes = parseAddress(text);
  if (bytes === null) {
    throw usage(`${option}: ${JSON.stringify(text)} is not an IP address`, 'give an IPv4 or IPv6 address');
  }
  return { text: formatAddress(bytes), bytes };
}

function portOf(option: string, text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65535) {
    throw usage(`${option}: ${JSON.stringify(text)} is not a port`, 'give a number from 1 to 65535');
  }
  return port;
}

function idOf(option: string, text: string): number {
  const value = Number(text);
  if (!/^\d{1,10}$/.test(text) || value > MAX_ID) {
    throw usage(`${option}: ${JSON.stringify(text)} is not an id`, `give a number from 0 to ${MAX_ID}`);
  }
  return value;
}

function usage(detail: string, fix: string): ShuntError {
  return new ShuntError('SHUNT_E_USAGE', detail, { fix });
}
