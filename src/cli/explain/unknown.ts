/**
 * What a policy says and bpf/policy.h does not know. Where it bears on the connection asked about, there is no answer:
 * a wrong one would be believed. The settings are those of src/datapath/ebpf/enforceable.ts.
 */
import { parseAddress } from '../../policy/address.ts';
import { cidrContains, parseCidr } from '../../policy/cidr.ts';
import type { IdRange, Protocols, RedirectPolicy } from '../../policy/policy.ts';
import type { Question } from './question.ts';

interface Unknown {
  /** It may decide the connection in another way than policy.h. */
  bears(policy: RedirectPolicy, question: Question): boolean;
  message: string;
}

const UNKNOWN: readonly Unknown[] = [
  {
    bears: ({ families }, { family }) => !(family === 4 ? families.ip4 : families.ip6),
    message: 'families: the mesh installs no rules for this address family',
  },
  {
    bears: ({ exempt }, question) =>
      question.direction === 'outbound' && exempt.uids.some((range) => within(range, question.uid)),
    message: 'exempt.uids: connections of this user are not captured',
  },
  {
    bears: ({ exempt }, question) =>
      question.direction === 'outbound' &&
      exempt.uidPorts.some(
        ({ protocols, ports, uids }) =>
          speaksOf(protocols, question.protocol) &&
          within(uids, question.uid) &&
          ports.some((range) => within(range, question.port)),
      ),
    message: 'exempt.uidPorts: this user is not captured on this port',
  },
  {
    bears: ({ exempt }, question) =>
      question.direction === 'outbound' &&
      (exempt.excludeGids.includes(question.gid) ||
        (exempt.includeGids !== '*' && !exempt.includeGids.includes(question.gid))),
    message: 'exempt.includeGids, exempt.excludeGids: this group is not captured',
  },
  {
    bears: ({ loopback }, question) => {
      if (question.direction !== 'outbound' || loopback.localhost4 === '127.0.0.1/32') return false;
      const block = parseCidr(loopback.localhost4);
      return block !== null && cidrContains(block, question.to.bytes) !== (question.to.text === '127.0.0.1');
    },
    message: 'loopback.localhost4: this address counts as localhost',
  },
  {
    bears: ({ loopback }, question) =>
      question.direction === 'outbound' &&
      loopback.application === 'capture' &&
      ['127.0.0.1', '::1'].includes(question.to.text),
    message: 'loopback.application: connections to localhost are captured',
  },
  {
    bears: ({ loopback, identity }, question) =>
      question.direction === 'outbound' &&
      loopback.sidecarLocalhostToPodIp &&
      question.to.text === '127.0.0.1' &&
      (identity.proxyUids.includes(question.uid) || identity.proxyGids.includes(question.gid)),
    message: "loopback.sidecarLocalhostToPodIp: it goes to the pod's own address instead",
  },
  {
    bears: ({ inbound }, question) =>
      question.direction === 'inbound' &&
      inbound.excludeSources.some((text) => {
        const block = parseCidr(text);
        return block !== null && cidrContains(block, question.from.bytes);
      }),
    message: 'inbound.excludeSources: connections from this address are not captured',
  },
];

/** Settings that decide by more than a question says; they are told and do not keep from an answer. */
const UNASKED: readonly { has(policy: RedirectPolicy, question: Question): boolean; message: string }[] = [
  {
    has: ({ interfaces }) => interfaces.exclude.length > 0,
    message: 'interfaces.exclude: traffic of the excluded interfaces passes, which is not looked at here',
  },
  {
    has: ({ interfaces }, { direction }) =>
      direction === 'inbound' && interfaces.reroute.length + interfaces.virtual.length > 0,
    message:
      'interfaces.reroute, interfaces.virtual: what comes in by these is outbound, which is not looked at here',
  },
  {
    has: ({ misc }, { direction }) => direction === 'inbound' && misc.dropInvalid,
    message: 'misc.dropInvalid: packets that connection tracking calls invalid are dropped',
  },
];

/** Why policy.h cannot answer, a sentence each; empty when it can. */
export function unknownTo(policy: RedirectPolicy, question: Question): string[] {
  return UNKNOWN.filter(({ bears }) => bears(policy, question)).map(({ message }) => message);
}

export function unaskedOf(policy: RedirectPolicy, question: Question): string[] {
  return UNASKED.filter(({ has }) => has(policy, question)).map(({ message }) => message);
}

/** A query that the policy's DNS capture speaks of, whoever sends it. */
export function isCapturedQuery({ dns }: RedirectPolicy, question: Question): boolean {
  if (question.direction !== 'outbound' || question.port !== 53 || dns.target === null) return false;
  if (question.protocol === 'tcp' && dns.tcp !== 'capture') return false;
  const { text } = question.to;
  switch (dns.mode) {
    case 'off':
      return false;
    case 'all':
      return true;
    case 'servers':
      return dns.servers.some((server) => sameAddress(server, question.to.bytes));
    case 'localhost':
      return text === '127.0.0.1' || text === '::1';
  }
}

function sameAddress(text: string, bytes: Uint8Array): boolean {
  const other = parseAddress(text);
  return other !== null && Buffer.compare(other, bytes) === 0;
}

function within({ first, last }: IdRange, value: number): boolean {
  return first <= value && value <= last;
}

function speaksOf(protocols: Protocols, protocol: 'tcp' | 'udp'): boolean {
  return protocols === 'both' || protocols === protocol;
}
