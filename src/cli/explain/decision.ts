import { decideNatively, type NativeDecision } from '../../datapath/ebpf/native_decision.ts';
import { parseAddress } from '../../policy/address.ts';
import { type Connection, decideInOrder, type OrderedRule } from '../../policy/decision.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import type { Question } from './question.ts';
import { isCapturedQuery, unaskedOf, unknownTo } from './unknown.ts';

export type Rule = NativeDecision['rule'] | OrderedRule | 'no-listener' | 'left-alone';

export interface Decision {
  /** Null where the policy says what bpf/policy.h does not know; the notes tell. */
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

/** Rules that Istio asks before it looks at DNS. */
const BEFORE_DNS: readonly Rule[] = ['sidecar', 'self-call', 'excluded-port', 'passthrough-source'];

/** What becomes of the connection: with eBPF by bpf/policy.h, else by the mesh's own rules in their order. */
export function decide(policy: RedirectPolicy, place: Place, question: Question): Decision {
  return place.backend === 'ebpf'
    ? decideByPrograms(policy, place, question)
    : decideByRules(policy, place, question);
}

function decideByRules(policy: RedirectPolicy, place: Place, question: Question): Decision {
  const notes = [...unaskedOf(policy, question), ...placeNotes(policy, place, question)];
  const { direction, protocol, family, port } = question;
  const own = place.addresses.find((text) => text.includes(':') === (family === 6)) ?? null;
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

/** TCP is decided by bpf/policy.h alone. */
function decideByPrograms(policy: RedirectPolicy, place: Place, question: Question): Decision {
  const notes = [
    ...orderNote(policy),
    ...unaskedOf(policy, question),
    ...placeNotes(policy, place, question),
  ];
  const unknown = unknownTo(policy, question);
  if (unknown.length > 0) return { verdict: null, target: null, rule: null, notes: [...unknown, ...notes] };
  const query = isCapturedQuery(policy, question);
  if (question.protocol === 'udp' && !query) return { verdict: 'pass', target: null, rule: 'udp', notes };
  const native = decideNatively(
    question.protocol === 'udp' ? forUdp(policy) : policy,
    factsOf(place, question),
  );
  if (query) return ofQuery(policy, question, native, notes);
  const port = { pass: null, outbound: policy.ports.outbound, inbound: policy.ports.inbound }[native.verdict];
  const target = port === null ? null : { address: null, port };
  if (native.verdict === 'inbound' && listens(place, question) === false) {
    return { verdict: 'refuse', target: null, rule: 'no-listener', notes };
  }
  return { verdict: native.verdict, target, rule: native.rule, notes };
}

function factsOf(place: Place, question: Question): Parameters<typeof decideNatively>[1] {
  if (question.direction === 'inbound') {
    const local = isOwn(place, question.from.text) || isLoopback(question.from.text);
    return { direction: 'inbound', port: question.port, local };
  }
  const { uid, gid, port, to, from, family } = question;
  const any = parseAddress(family === 4 ? '0.0.0.0' : '::') ?? to.bytes;
  const local = isOwn(place, to.text);
  const identityConfirmed = true;
  return {
    direction: 'outbound',
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

/** Exclusions of ports that speak of TCP alone say nothing of UDP, and those of UDP do. */
function forUdp(policy: RedirectPolicy): RedirectPolicy {
  const { outbound } = policy;
  const excludePorts = outbound.excludePortProtocols === 'tcp' ? [] : outbound.excludePorts;
  return { ...policy, outbound: { ...outbound, excludePorts, excludePortProtocols: 'both' } };
}

/** DNS capture is not in policy.h: its answer counts up to where Istio looks at DNS. */
function ofQuery(
  policy: RedirectPolicy,
  { protocol }: Question,
  native: NativeDecision,
  notes: string[],
): Decision {
  if (!BEFORE_DNS.includes(native.rule)) {
    const note = 'dns: the iptables backend captures queries; with eBPF they go where they were going';
    return { verdict: 'dns', target: policy.dns.target, rule: 'dns', notes: [note, ...notes] };
  }
  // Self-calls are TCP: of UDP the rule after it is left, which lets the sidecar pass.
  const rule = native.rule === 'self-call' && protocol === 'udp' ? 'sidecar' : native.rule;
  if (policy.mesh === 'istio' && rule !== 'self-call') return { verdict: 'pass', target: null, rule, notes };
  const note = `dns: whether ${policy.mesh} asks for DNS before the rule ${rule} is not known here; see \`shunt iptables render\``;
  return { verdict: null, target: null, rule: null, notes: [note, ...notes] };
}

function orderNote({ mesh }: RedirectPolicy): string[] {
  if (mesh === 'istio') return [];
  return [
    `the eBPF backend, which enforces this pod, tries rules in Istio's order; ${mesh}'s own rules have another`,
  ];
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
