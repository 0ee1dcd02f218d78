import { decideNatively, type NativeDecision } from '../../datapath/ebpf/native_decision.ts';
import { parseAddress } from '../../policy/address.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import type { Question } from './question.ts';
import { unaskedOf } from './unknown.ts';

export type Rule = NativeDecision['rule'] | 'udp' | 'no-listener' | 'left-alone';

export interface Decision {
  /** Null where the policy says what bpf/policy.h does not know; the notes tell. */
  verdict: NativeDecision['verdict'] | 'refuse' | null;
  /** Where it goes instead; an address of null is the pod's own. */
  target: { address: string | null; port: number } | null;
  rule: Rule | null;
  notes: string[];
}

/** The pod as far as a decision looks at it. */
export interface Place {
  addresses: readonly string[];
  /** Captured listeners of the sidecar, from the kernel; null where that is not known. */
  listeners: { ip4: number; ip6: number } | null;
}

/** What becomes of the connection. TCP is decided by bpf/policy.h alone. */
export function decide(policy: RedirectPolicy, place: Place, question: Question): Decision {
  const notes = [...unaskedOf(policy, question), ...placeNotes(policy, place, question)];
  const native = decideNatively(policy, factsOf(place, question));
  const port = {
    pass: null,
    outbound: policy.ports.outbound,
    inbound: policy.ports.inbound,
    dns: policy.dns.target?.port ?? null,
    'pod-ip': question.port,
  }[native.verdict];
  const address = native.verdict === 'dns' ? (policy.dns.target?.address ?? null) : null;
  const target = port === null ? null : { address, port };
  const rule = native.rule === 'no-query' ? 'udp' : native.rule;
  if (native.verdict === 'inbound' && listens(place, question) === false) {
    return { verdict: 'refuse', target: null, rule: 'no-listener', notes };
  }
  return { verdict: native.verdict, target, rule, notes };
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
