/**
 * Reads the rules of a policy as a person does: from the sentences alone, the first that fits decides. Throws on a
 * sentence it does not understand.
 */
import { addressFamily, formatAddress, parseAddress } from '../../src/policy/address.ts';
import { cidrContains, parseCidr } from '../../src/policy/cidr.ts';
import type { Connection } from '../../src/policy/decision.ts';
import type { PolicyRule } from '../../src/policy/explain.ts';

type Fits = (connection: Connection, words: RegExpExecArray, localhost: string) => boolean;

/** A phrase at the start of what is left of a sentence, and whether a connection fits it. */
const PHRASES: readonly [RegExp, Fits][] = [
  [/^over IPv([46])/, ({ family }, [, said]) => String(family) === said],
  [/^by (?:the interface )?([a-z0-9+]+(?:, [a-z0-9+]+)*(?=$|, UDP$|, not| to| over))/, byInterface],
  [/^(?:of|from) uid ([\d-]+(?:, [\d-]+)*)/, ({ uid }, [, list = '']) => inRanges(list, uid)],
  [/^(?:of|from) gid ([\d-]+(?:, [\d-]+)*)/, ({ gid }, [, list = '']) => inRanges(list, gid)],
  [/^from another uid than (\d+)/, ({ uid }, [, id]) => uid !== Number(id)],
  [/^from another gid than (\d+)/, ({ gid }, [, id]) => gid !== Number(id)],
  [/^of any group/, () => true],
  [/^of a gid other than ([\d, ]+)/, ({ gid }, [, list = '']) => !inRanges(list, gid)],
  [/^from the sidecar \(([^)]*)\)/, (connection, [, ids = '']) => isOne(connection, ids)],
  [
    /^from 127\.0\.0\.6 or ::6/,
    ({ from }) => from !== null && ['127.0.0.6', '::6'].includes(formatAddress(from)),
  ],
  [/^from the pod itself/, ({ local }) => local],
  [
    /^from ([0-9a-f.:/]+(?:, [0-9a-f.:/]+)*)/,
    ({ from }, [, list = '']) => from !== null && inBlocks(list, from),
  ],
  [
    /^to an address of the pod other than localhost/,
    (c, _, localhost) => isLocal(c) && !inBlocks(localhost, c.to),
  ],
  [/^to an address of the pod/, isLocal],
  [/^to anywhere else|^to any other port/, () => true],
  [/^to ports? ([\d-]+(?:, [\d-]+)*) of no server/, () => false],
  [
    /^to port 53 of ([0-9a-f.:]+(?:(?:, | or )[0-9a-f.:]+)*)/,
    ({ port, to }, [, list = '']) => port === 53 && inBlocks(list, to),
  ],
  [/^to ports? ([\d-]+(?:, [\d-]+)*)/, ({ port }, [, list = '']) => inRanges(list, port)],
  [/^to ([0-9a-f.:/]+(?:(?:, | or )[0-9a-f.:/]+)*)/, ({ to }, [, list = '']) => inBlocks(list, to)],
  [
    /^, not to port (\d+(?: or \d+)*)/,
    ({ port }, [, list = '']) => !list.split(' or ').includes(String(port)),
  ],
  [/^, not to ([0-9a-f.:/]+)/, ({ to }, [, block = '']) => !inBlocks(block, to)],
  [
    /^, but for port 53, (TCP and UDP|UDP)/,
    ({ port, protocol }, [, said = '']) => !(port === 53 && speaks(said, protocol)),
  ],
  [/^, (TCP and UDP|TCP|UDP)/, ({ protocol }, [, said = '']) => speaks(said, protocol)],
  [/^, over IPv([46])/, ({ family }, [, said]) => String(family) === said],
];

/** What the sentences say becomes of the connection. @param localhost CIDR that the policy calls so */
export function readRules(
  rules: readonly PolicyRule[],
  connection: Connection,
  sidecar: string,
  localhost: string,
): PolicyRule['then'] {
  const decided = rules.find((rule) => {
    if (rule.direction !== connection.direction) return false;
    const saysProtocol = /TCP|UDP/.test(rule.when);
    // Only what is let pass is of both protocols without saying so, and a port is of TCP then.
    if (
      connection.protocol === 'udp' &&
      !saysProtocol &&
      (rule.then !== 'left alone' || /to ports? \d/.test(rule.when))
    )
      return false;
    return fits(rule.when, connection, sidecar, localhost);
  });
  return decided?.then ?? 'left alone';
}

function fits(when: string, connection: Connection, sidecar: string, localhost: string): boolean {
  let rest = when;
  let all = true;
  const application = /^from the application/.exec(rest);
  if (application !== null) {
    all = !isOne(connection, sidecar);
    rest = rest.slice(application[0].length).trimStart();
  }
  while (rest !== '') {
    const phrase = PHRASES.find(([words]) => words.test(rest));
    const words = phrase?.[0].exec(rest);
    if (!phrase || !words) throw new Error(`not understood: "${rest}" of "${when}"`);
    all = phrase[1](connection, words, `${localhost} or ::1`) && all;
    rest = rest.slice(words[0].length).trimStart();
  }
  return all;
}

function byInterface({ interface: own = '' }: Connection, [, list = '']: RegExpExecArray): boolean {
  return list
    .split(', ')
    .some((name) => (name.endsWith('+') ? own.startsWith(name.slice(0, -1)) : own === name));
}

function isLocal({ local, to }: Connection): boolean {
  const text = formatAddress(to);
  return local || text.startsWith('127.') || text === '::1';
}

/** @param ids `uid 1337 or gid 1337` */
function isOne({ uid, gid }: Connection, ids: string): boolean {
  return ids.split(' or ').some((id) => id === `uid ${uid}` || id === `gid ${gid}`);
}

function inRanges(list: string, value: number): boolean {
  return list.split(', ').some((text) => {
    const [first, last = first] = text.split('-').map(Number);
    return value >= Number(first) && value <= Number(last);
  });
}

function inBlocks(list: string, address: Uint8Array): boolean {
  return list.split(/, | or /).some((text) => {
    const single = parseAddress(text);
    const block = parseCidr(single === null ? text : `${text}/${addressFamily(single) === 4 ? 32 : 128}`);
    if (block === null) throw new Error(`no block: ${text}`);
    return block.family === addressFamily(address) && cidrContains(block, address);
  });
}

function speaks(said: string, protocol: 'tcp' | 'udp'): boolean {
  return said.toLowerCase().split(' and ').includes(protocol);
}
