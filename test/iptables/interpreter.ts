/**
 * What iptables does with a packet, from the text of an iptables-restore document alone. It knows the language of the
 * rules and nothing of who wrote them: an option or a target that it does not know is an error, never a rule passed over.
 * Source: iptables-extensions(8).
 */
import { BlockList, isIPv6 } from 'node:net';

export type Hook = 'OUTPUT' | 'PREROUTING';

export interface Packet {
  hook: Hook;
  proto: 'tcp' | 'udp' | 'icmp';
  src: string;
  dst: string;
  sport?: number;
  dport?: number;
  /** Owner of the sending socket; a packet from outside has none. */
  uid?: number;
  gid?: number;
  /** Interface it came in by, or that it leaves by. */
  iface: string;
  /** Addresses of the namespace, for addrtype. */
  local?: readonly string[];
  ctstate?: 'NEW' | 'ESTABLISHED' | 'RELATED' | 'INVALID';
}

export type Verdict =
  | { kind: 'accept' }
  | { kind: 'drop' }
  | { kind: 'redirect'; port: number | null }
  | { kind: 'dnat'; to: string };

export interface Result {
  verdict: Verdict;
  /** Conntrack zone, 0 where no rule gave one. */
  zone: number;
  /** Rules that matched, in order. */
  trace: string[];
}

type Match = (packet: Packet) => boolean;
interface Rule {
  text: string;
  matches: Match[];
  target: string | null;
  goto: boolean;
  options: Map<string, string>;
}
type Table = Map<string, { policy: string; rules: Rule[] }>;

const BUILT_IN = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);
const TABLE_ORDER = ['raw', 'mangle', 'nat'];
const MAX_DEPTH = 16;

/** Runs a packet through raw, mangle and nat of a document, as a new connection meets them. */
export function interpret(document: string, packet: Packet): Result {
  return new Interpreter(document).run(packet);
}

export class Interpreter {
  readonly #tables: Map<string, Table>;

  constructor(document: string) {
    this.#tables = parse(document);
  }

  run(packet: Packet): Result {
    const state: Result = { verdict: { kind: 'accept' }, zone: 0, trace: [] };
    for (const name of TABLE_ORDER) {
      const table = this.#tables.get(name);
      const chain = table?.get(packet.hook);
      if (table === undefined || chain === undefined) continue;
      const end = walk(table, packet.hook, packet, state, 0);
      if (end !== null) state.verdict = end;
      if (end === null && chain.policy === 'DROP') state.verdict = { kind: 'drop' };
      if (state.verdict.kind === 'drop') break;
    }
    return state;
  }
}

/** The verdict of a chain, or null when it returned. */
function walk(table: Table, chain: string, packet: Packet, state: Result, depth: number): Verdict | null {
  if (depth > MAX_DEPTH) throw new Error(`chains call each other in a circle at ${chain}`);
  const rules = table.get(chain)?.rules;
  if (rules === undefined) throw new Error(`there is no chain ${chain}`);
  for (const rule of rules) {
    if (!rule.matches.every((match) => match(packet))) continue;
    state.trace.push(rule.text);
    switch (rule.target) {
      case null:
        continue;
      case 'RETURN':
        return null;
      case 'ACCEPT':
        return { kind: 'accept' };
      case 'DROP':
        return { kind: 'drop' };
      case 'REDIRECT': {
        const port = rule.options.get('--to-ports');
        return { kind: 'redirect', port: port === undefined ? null : integer(port) };
      }
      case 'DNAT':
        return { kind: 'dnat', to: rule.options.get('--to-destination') ?? '' };
      case 'CT':
        // The first zone given stays: a packet that has a conntrack entry is passed by.
        if (state.zone === 0) state.zone = integer(rule.options.get('--zone') ?? '');
        continue;
      default: {
        const end = walk(table, rule.target, packet, state, depth + 1);
        if (end !== null || rule.goto) return end;
      }
    }
  }
  return null;
}

function parse(document: string): Map<string, Table> {
  const tables = new Map<string, Table>();
  let table: Table | null = null;
  for (const line of document.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('*')) {
      table = new Map([...BUILT_IN].map((name) => [name, { policy: 'ACCEPT', rules: [] }]));
      tables.set(line.slice(1), table);
      continue;
    }
    if (table === null) throw new Error(`outside a table: ${line}`);
    if (line === 'COMMIT') {
      table = null;
      continue;
    }
    const words = line.split(' ');
    if (line.startsWith(':')) {
      const [name = '', policy = '-'] = [words[0]?.slice(1), words[1]];
      table.set(name, { policy, rules: [] });
      continue;
    }
    if (words[0] !== '-A') throw new Error(`not a rule that is appended: ${line}`);
    const chain = table.get(words[1] ?? '');
    if (chain === undefined) throw new Error(`there is no chain for: ${line}`);
    chain.rules.push(parseRule(line, words.slice(2)));
  }
  if (table !== null) throw new Error('the last table is not committed');
  return tables;
}

const TARGET_OPTIONS = new Set(['--to-ports', '--to-destination', '--zone']);

function parseRule(text: string, words: readonly string[]): Rule {
  const rule: Rule = { text, matches: [], target: null, goto: false, options: new Map() };
  for (let at = 0; at < words.length; ) {
    const negated = words[at] === '!';
    if (negated) at++;
    const option = words[at++] ?? '';
    const value = words[at++];
    if (value === undefined) throw new Error(`${option} has no value: ${text}`);
    if (option === '-j' || option === '-g') {
      rule.target = value;
      rule.goto = option === '-g';
    } else if (TARGET_OPTIONS.has(option)) {
      if (rule.target === null) throw new Error(`${option} without a target: ${text}`);
      rule.options.set(option, value);
    } else if (option === '--tcp-flags') {
      // Packets here are the first of their connection.
      const flags = `${value} ${words[at++]}`;
      if (flags !== 'FIN,SYN,RST,ACK SYN' || negated) throw new Error(`${option} ${flags} is not known`);
    } else if (option === '-m') {
      if (!MODULES.has(value)) throw new Error(`match ${value} is not known: ${text}`);
    } else {
      const match = matchOf(option, value);
      rule.matches.push(negated ? (packet) => !match(packet) : match);
    }
  }
  return rule;
}

const MODULES = new Set(['tcp', 'udp', 'multiport', 'owner', 'addrtype', 'conntrack']);

function matchOf(option: string, value: string): Match {
  switch (option) {
    case '-p':
      return ({ proto }) => proto === value;
    case '-s':
      return inBlock(value, ({ src }) => src);
    case '-d':
      return inBlock(value, ({ dst }) => dst);
    case '-i':
      return ({ hook, iface }) => hook === 'PREROUTING' && interfaceMatches(value, iface);
    case '-o':
      return ({ hook, iface }) => hook === 'OUTPUT' && interfaceMatches(value, iface);
    case '--dport':
    case '--dports':
      return inPorts(value, ({ dport }) => dport);
    case '--sport':
    case '--sports':
      return inPorts(value, ({ sport }) => sport);
    case '--uid-owner':
      return inIds(value, ({ uid }) => uid);
    case '--gid-owner':
      return inIds(value, ({ gid }) => gid);
    case '--dst-type':
      return ({ dst, local = [] }) => value === 'LOCAL' && isLocal(dst, local);
    case '--src-type':
      return ({ src, local = [] }) => value === 'LOCAL' && isLocal(src, local);
    case '--ctstate':
      return ({ ctstate = 'NEW' }) => value.split(',').includes(ctstate);
    default:
      throw new Error(`option ${option} is not known`);
  }
}

function inBlock(text: string, addressOf: (packet: Packet) => string): Match {
  const [address = '', bits = isIPv6(address) ? '128' : '32'] = text.split('/');
  const list = new BlockList();
  // BlockList takes no prefix of 0 bits in every version; it is everything of the family.
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  if (integer(bits) > 0) list.addSubnet(address, integer(bits), family);
  return (packet) => {
    const given = addressOf(packet);
    if (isIPv6(given) !== (family === 'ipv6')) return false;
    return integer(bits) === 0 || list.check(given, family);
  };
}

function inPorts(text: string, portOf: (packet: Packet) => number | undefined): Match {
  const ranges = text.split(',').map((part) => {
    const [first = '', last = first] = part.split(':');
    return [integer(first), integer(last)] as const;
  });
  if (ranges.reduce((sum, [first, last]) => sum + (first === last ? 1 : 2), 0) > 15) {
    throw new Error(`more than 15 ports in one match: ${text}`);
  }
  return (packet) => {
    const port = portOf(packet);
    return port !== undefined && ranges.some(([first, last]) => first <= port && port <= last);
  };
}

/** A packet without a socket has no owner, and then neither the match nor its opposite is asked for by our cases. */
function inIds(text: string, idOf: (packet: Packet) => number | undefined): Match {
  const [first = '', last = first] = text.split('-');
  return (packet) => {
    const id = idOf(packet);
    return id !== undefined && integer(first) <= id && id <= integer(last);
  };
}

function interfaceMatches(pattern: string, name: string): boolean {
  return pattern.endsWith('+') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function isLocal(address: string, local: readonly string[]): boolean {
  return address.startsWith('127.') || address === '::1' || local.includes(address);
}

function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`${JSON.stringify(text)} is no number`);
  return Number(text);
}
