import { decideNatively, type NativeDecision } from '../../datapath/ebpf/native_decision.ts';
import { parseAddress } from '../../policy/address.ts';
import { type Connection, decideInOrder, type OrderedRule } from '../../policy/decision.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import type { Question } from './question.ts';
import { unaskedOf } from './unasked.ts';

export type Rule = NativeDecision['rule'] | OrderedRule | 'no-listener' | 'left-alone';

export interface Decision {
  verdict: 'outbound' | 'inbound' | 'dns' | 'pod-address' | 'pass' | 'refuse' | null;
  /** Where it goes instead; an address of null is the pod's own. */
  target: { address: string | null; port: number } | null;
  rule: Rule | null;
  notes: string[];
}

/** The pod as far as a decision looks at it. */
export interface Place {
  addresses: readonly string[];
  /** What enforces it; null for a manifest, which is answered by its mesh's own rules. */
  backend: 'ebpf' | 'iptables' | null;
  /** Captured listeners of the sidecar, from the kernel; null where that is not known. */
  listeners: { ip4: number; ip6: number } | null;
}

/** What becomes of the connection: with eBPF by bpf/policy.h, else by the mesh's own rules in their order. */
export function decide(policy: RedirectPolicy, place: Place, question: Question): Decision {
  return place.backend === 'ebpf'
    ? decideByPrograms(policy, place, question)
    : decideByRules(policy, place, question);
}

function decideByRules(policy: RedirectPolicy, place: Place, question: Question): Decision {
  const notes = [...unaskedOf(policy, question), ...placeNotes(policy, place, question)];
  const { direction, protocol, family, port } = question;
  const own = ownAddress(place, question);
  const unbound = parseAddress(family === 4 ? '0.0.0.0' : '::') ?? new Uint8Array(16);
  const connection: Connection =
    direction === 'inbound'
      ? {
          ...{ direction, protocol, family, port, uid: 0, gid: 0, from: question.from.bytes },
          to: (own === null ? null : parseAddress(own)) ?? unbound,
          local: isOwn(place, question.from.text) || isLoopback(question.from.text),
        }
      : {
          ...{ direction, protocol, family, port, uid: question.uid, gid: question.gid },
          to: question.to.bytes,
          from: question.from?.bytes ?? null,
          local: isOwn(place, question.to.text),
        };
  const { verdict, rule } = decideInOrder(policy, connection);
  const target = {
    pass: null,
    outbound: { address: null, port: policy.ports.outbound },
    inbound: { address: null, port: policy.ports.inbound },
    'pod-address': { address: own, port },
    dns: policy.dns.target,
  }[verdict];
  return { verdict, target, rule, notes };
}

function decideByPrograms(policy: RedirectPolicy, place: Place, question: Question): Decision {
  const notes = [...unaskedOf(policy, question), ...placeNotes(policy, place, question)];
  const native = decideNatively(policy, factsOf(place, question));
  const rule = native.rule === 'no-query' ? 'udp' : native.rule;
  if (native.verdict === 'inbound' && listens(place, question) === false) {
    return { verdict: 'refuse', target: null, rule: 'no-listener', notes };
  }
  const target = {
    pass: null,
    outbound: { address: null, port: policy.ports.outbound },
    inbound: { address: null, port: policy.ports.inbound },
    'pod-address': { address: ownAddress(place, question), port: question.port },
    dns: policy.dns.target,
  }[native.verdict];
  return { verdict: native.verdict, target, rule, notes };
}

function ownAddress({ addresses }: Place, { family }: Question): string | null {
  return addresses.find((text) => text.includes(':') === (family === 6)) ?? null;
}

function factsOf(place: Place, question: Question): Parameters<typeof decideNatively>[1] {
  if (question.direction === 'inbound') {
    const local = isOwn(place, question.from.text) || isLoopback(question.from.text);
    return { direction: 'inbound', port: question.port, local, remote: question.from.bytes };
  }
  const { uid, gid, port, to, from, family } = question;
  const any = parseAddress(family === 4 ? '0.0.0.0' : '::') ?? to.bytes;
  const local = isOwn(place, to.text);
  const identityConfirmed = true;
  return {
    direction: 'outbound',
    protocol: question.protocol,
    uid,
    gid,
    identityConfirmed,
    local,
    port,
    to: to.bytes,
    from: from?.bytes ?? any,
  };
}

/** ::6 stands on lo of every pod whose mesh uses it. */
function isOwn({ addresses }: Place, text: string): boolean {
  return text === '::6' || addresses.includes(text);
}

function isLoopback(text: string): boolean {
  return text.startsWith('127.') || text === '::1';
}

function listens({ listeners }: Place, { family }: Question): boolean | null {
  if (listeners === null) return null;
  return (family === 4 ? listeners.ip4 : listeners.ip6) > 0;
}

function placeNotes({ identity }: RedirectPolicy, { addresses }: Place, question: Question): string[] {
  const notes: string[] = [];
  const { direction } = question;
  if (addresses.length === 0) notes.push('the pod has no address yet: none is taken for its own');
  if (direction !== 'outbound') return notes;
  if (identity.proxyUids.includes(question.uid) || identity.proxyGids.includes(question.gid)) {
    notes.push(
      "it has the sidecar's uid or gid and is taken for the sidecar; from another container eBPF would capture it",
    );
  }
  return notes;
}
