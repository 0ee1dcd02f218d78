/**
 * Lists as annotations and arguments of the meshes spell them. Values become numbers and canonical CIDRs here, or
 * nothing: no text of a pod goes any further.
 */
import { canonicalCidr } from '../policy/cidr.ts';
import type { IdRange, PortRange } from '../policy/policy.ts';
import { MAX_PORT } from '../policy/port_range.ts';
import { isInterfaceName } from '../policy/validate.ts';

/** What was read, or what is wrong with the first element that could not be. */
export type Parsed<T> = { ok: true; value: T } | { ok: false; problem: string };

export interface ListRules {
  /** Elements of no characters (`80,,443,`) are passed over rather than refused. */
  emptyElements?: boolean;
  /** Spaces and tabs around an element do not count. */
  spaces?: boolean;
}

/** Go's strconv.ParseUint takes leading zeros, but iptables then reads the same text as octal: refused. */
const NUMBER = /^(?:0|[1-9][0-9]{0,9})$/;

/** @returns the port, host order, 0..65535 */
export function parsePort(text: string): Parsed<number> {
  const port = NUMBER.test(text) ? Number(text) : Number.NaN;
  return port <= MAX_PORT ? { ok: true, value: port } : refuse(text, 'a port from 0 to 65535');
}

/** Comma-separated ports, without ranges. An empty text is an empty list. */
export function parsePortList(text: string, rules: ListRules = {}): Parsed<PortRange[]> {
  return parseList(text, rules, (element) => {
    const port = parsePort(element);
    return port.ok ? { ok: true, value: { first: port.value, last: port.value } } : port;
  });
}

/**
 * A port, or two with one of the separators between them.
 *
 * @param separators `-`, `:` or both
 */
export function parsePortRange(text: string, separators: string): Parsed<PortRange> {
  const at = [...text].findIndex((character) => separators.includes(character));
  const first = parsePort(at === -1 ? text : text.slice(0, at));
  const last = at === -1 ? first : parsePort(text.slice(at + 1));
  if (!first.ok || !last.ok || first.value > last.value) {
    return refuse(text, `a port or a range such as 80${separators[0]}90`);
  }
  return { ok: true, value: { first: first.value, last: last.value } };
}

/** A CIDR, or an address alone, which is the block of that address. */
export function parseCidrOrAddress(text: string): Parsed<string> {
  const alone = text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`;
  const cidr = canonicalCidr(alone);
  return cidr === null ? refuse(text, 'an address or a CIDR') : { ok: true, value: cidr };
}

/** A uid, or two with `-` between them. */
export function parseIdRange(text: string): Parsed<IdRange> {
  const [first = '', last = first, ...more] = text.split('-');
  const ids = [first, last].map((part) => (NUMBER.test(part) ? Number(part) : Number.NaN));
  const [low = Number.NaN, high = Number.NaN] = ids;
  if (more.length > 0 || !(low <= high) || high >= 0xffff_ffff)
    return refuse(text, 'a numeric id or a range of them');
  return { ok: true, value: { first: low, last: high } };
}

/** Comma-separated CIDRs, whose prefix length is required. An empty text is an empty list. */
export function parseCidrList(text: string, rules: ListRules = {}): Parsed<string[]> {
  return parseList(text, rules, (element) => {
    const cidr = canonicalCidr(element);
    return cidr === null ? refuse(element, 'a CIDR such as 10.0.0.0/8') : { ok: true, value: cidr };
  });
}

/** Comma-separated uids or gids. */
export function parseIdList(text: string, rules: ListRules = {}): Parsed<number[]> {
  return parseList(text, rules, (element) => {
    const id = NUMBER.test(element) ? Number(element) : Number.NaN;
    return id < 0xffff_ffff ? { ok: true, value: id } : refuse(element, 'a numeric id');
  });
}

/** Comma-separated names of network interfaces (IFNAMSIZ less its NUL: 15 characters). */
export function parseInterfaceList(text: string, rules: ListRules = {}): Parsed<string[]> {
  return parseList(text, rules, (element) =>
    isInterfaceName(element)
      ? { ok: true, value: element }
      : refuse(element, 'the name of a network interface'),
  );
}

export function parseList<T>(
  text: string,
  rules: ListRules,
  parseElement: (text: string) => Parsed<T>,
): Parsed<T[]> {
  const trim = (part: string) => (rules.spaces === true ? part.replace(/^[ \t]+|[ \t]+$/g, '') : part);
  const whole = trim(text);
  if (whole === '') return { ok: true, value: [] };
  const values: T[] = [];
  for (const part of whole.split(',')) {
    const element = trim(part);
    if (element === '') {
      if (rules.emptyElements === true) continue;
      return { ok: false, problem: 'it has an empty element' };
    }
    const parsed = parseElement(element);
    if (!parsed.ok) return parsed;
    values.push(parsed.value);
  }
  return { ok: true, value: values };
}

/** @returns that the text is not what was wanted, quoted and short */
export function refuse(text: string, wanted: string): { ok: false; problem: string } {
  return { ok: false, problem: `${quote(text)} is not ${wanted}` };
}

/** Text of a pod for a message: quoted, escaped and short. */
export function quote(text: string): string {
  return JSON.stringify(clip(text));
}

/** Log lines and events stay readable, whatever a megabyte of annotation holds. */
export function clip(text: string): string {
  return text.length <= 100 ? text : `${text.slice(0, 99)}…`;
}

/** strconv.ParseBool of Go, which the meshes' components read their switches with; null when the text is neither. */
export function parseGoBool(text: string): boolean | null {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false;
  return null;
}
