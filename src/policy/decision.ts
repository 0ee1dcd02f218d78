/**
 * What a mesh's own rules do with one connection: the questions of order.ts, asked in the mesh's order, over every
 * setting of a policy. The iptables backend decides so; bpf/policy.h decides in Istio's order over less.
 */
import { formatAddress } from './address.ts';
import { cidrContains, parseCidr } from './cidr.ts';
import { orderOf, type Step } from './order.ts';
import type { IdRange, Protocols, RedirectPolicy } from './policy.ts';

/** The rule that decided. Names are those of bpf/policy.h where it has the rule. */
export type OrderedRule =
  | 'family'
  | 'excluded-interface'
  | 'exempt-user'
  | 'exempt-user-port'
  | 'excluded-port'
  | 'passthrough-source'
  | 'sidecar-localhost'
  | 'self-call'
  | 'app-local'
  | 'sidecar'
  | 'exempt-group'
  | 'dns'
  | 'dns-over-tcp'
  | 'localhost'
  | 'excluded-cidr'
  | 'included-port'
  | 'included-cidr'
  | 'capture-all'
  | 'not-included'
  | 'udp'
  | 'excluded-source'
  | 'tunnel-port'
  | 'local-traffic'
  | 'rerouted-interface'
  | 'virtual-network';

export interface OrderedDecision {
  /** `pod-address`: to the pod's own address, same port. */
  verdict: 'pass' | 'outbound' | 'inbound' | 'dns' | 'pod-address';
  rule: OrderedRule;
}

export interface Connection {
  direction: 'outbound' | 'inbound';
  protocol: 'tcp' | 'udp';
  family: 4 | 6;
  /** 16 bytes, network order, like `from`. */
  to: Uint8Array;
  /** Null when the socket is not bound. */
  from: Uint8Array | null;
  /** Destination, host order. */
  port: number;
  /** Of the sending process; of no account inbound. */
  uid: number;
  gid: number;
  /** Outbound: the destination is an address of the pod. Inbound: it comes from one. */
  local: boolean;
  /** Left or entered by; undefined where it is not asked about. */
  interface?: string | undefined;
}

const DNS_PORT = 53;

/** First rule that fits decides. */
export function decideInOrder(policy: RedirectPolicy, asked: Connection): OrderedDecision {
  const { families } = policy;
  if (!(asked.family === 4 ? families.ip4 : families.ip6)) return pass('family');
  if (asked.direction === 'inbound') return decideInbound(policy, asked);
  // connect() to 0.0.0.0 or :: is to localhost by the time that any rule sees it.
  const any = ['0.0.0.0', '::'].includes(formatAddress(asked.to));
  const localhost = parseCidr(asked.family === 4 ? '127.0.0.1/32' : '::1/128')?.bytes ?? asked.to;
  const to = any ? localhost : asked.to;
  const text = formatAddress(to);
  const local = asked.local || any || text.startsWith('127.') || text === '::1';
  const connection = { ...asked, to, local };
  for (const step of orderOf(policy.mesh)) {
    const decision = STEPS[step](policy, connection);
    if (decision !== null) return decision;
  }
  return pass(connection.protocol === 'udp' ? 'udp' : 'not-included');
}

type Ask = (policy: RedirectPolicy, connection: Connection) => OrderedDecision | null;

const STEPS: Record<Step, Ask> = {
  interfaces: ({ interfaces }, connection) =>
    interfaces.exclude.some((name) => byInterface(name, connection)) ? pass('excluded-interface') : null,

  users: ({ exempt }, { uid }) => (within(exempt.uids, uid) ? pass('exempt-user') : null),

  'user-ports': ({ exempt }, { protocol, port, uid }) =>
    exempt.uidPorts.some(
      ({ protocols, ports, uids }) =>
        speaksOf(protocols, protocol) && within(ports, port) && within([uids], uid),
    )
      ? pass('exempt-user-port')
      : null,

  ports: ({ outbound }, { protocol, port }) =>
    speaksOf(outbound.excludePortProtocols, protocol) && within(outbound.excludePorts, port)
      ? pass('excluded-port')
      : null,

  passthrough: ({ loopback }, { from, local, family }) => {
    const source = family === 4 ? '127.0.0.6' : '::6';
    const fits = loopback.passthroughSource && local && from !== null && formatAddress(from) === source;
    return fits ? pass('passthrough-source') : null;
  },

  'pod-ip': (policy, connection) => {
    const localhost = connection.family === 4 ? '127.0.0.1' : '::1';
    const fits =
      policy.loopback.sidecarLocalhostToPodIp &&
      policy.outbound.enabled &&
      connection.protocol === 'tcp' &&
      formatAddress(connection.to) === localhost &&
      isSidecar(policy, connection);
    return fits ? { verdict: 'pod-address', rule: 'sidecar-localhost' } : null;
  },

  identity: (policy, connection) =>
    policy.loopback.sidecar === 'inbound'
      ? selfCallingSidecar(policy, connection)
      : plainSidecar(policy, connection),

  groups: ({ exempt }, { gid }) => {
    const captured = exempt.includeGids === '*' || exempt.includeGids.includes(gid);
    return captured && !exempt.excludeGids.includes(gid) ? null : pass('exempt-group');
  },

  'sidecar-dns': (policy, connection) => {
    const { mode, tcp } = policy.dns;
    const query = connection.port === DNS_PORT && (connection.protocol === 'udp' || tcp === 'capture');
    return mode !== 'off' && query && isSidecar(policy, connection) ? pass('sidecar') : null;
  },

  dns: (policy, connection) => {
    const { mode, target, tcp } = policy.dns;
    if (mode === 'off' || target === null || connection.port !== DNS_PORT) return null;
    if (target.address !== null && target.address.includes(':') !== (connection.family === 6)) return null;
    const udp = connection.protocol === 'udp';
    if ((udp || tcp === 'capture') && isServer(policy, connection)) return { verdict: 'dns', rule: 'dns' };
    return !udp && tcp === 'bypass' && !isSidecar(policy, connection) ? pass('dns-over-tcp') : null;
  },

  localhost: (policy, connection) => {
    const { loopback } = policy;
    if (loopback.application === 'bypass-local' && loopback.sidecar === 'bypass') return null;
    return isLocalhost(policy, connection) ? pass('localhost') : null;
  },

  blocks: ({ outbound }, { family, to }) =>
    inBlocks(outbound.excludeCidrs, family, to) ? pass('excluded-cidr') : null,

  'included-ports': ({ outbound }, { protocol, port }) =>
    outbound.enabled && protocol === 'tcp' && within(outbound.includePorts, port)
      ? { verdict: 'outbound', rule: 'included-port' }
      : null,

  included: ({ outbound }, { protocol, family, to }) => {
    if (!outbound.enabled || protocol !== 'tcp') return null;
    if (outbound.includeCidrs === '*') return { verdict: 'outbound', rule: 'capture-all' };
    return inBlocks(outbound.includeCidrs, family, to)
      ? { verdict: 'outbound', rule: 'included-cidr' }
      : null;
  },
};

/** For each owner in turn: with two uids the first lets the second's self-calls pass, as Istio's rules do. */
function selfCallingSidecar(policy: RedirectPolicy, connection: Connection): OrderedDecision | null {
  const { ports, loopback, outbound } = policy;
  const { protocol, port, local } = connection;
  const dns = dnsComesLater(policy) && policy.dns.tcp === 'capture';
  for (const { kind, fits } of owners(policy, connection)) {
    const excepted = port === ports.tunnel || (dns && kind === 'uid' && port === DNS_PORT);
    const selfCall = local && !isLocalhost(policy, connection) && protocol === 'tcp' && !excepted;
    if (fits && outbound.enabled && selfCall) return { verdict: 'inbound', rule: 'self-call' };
    if (!fits && loopback.application === 'bypass-local' && passesLocally(policy, connection)) {
      return pass('app-local');
    }
    if (fits) return pass('sidecar');
  }
  return null;
}

function plainSidecar(policy: RedirectPolicy, connection: Connection): OrderedDecision | null {
  if (isSidecar(policy, connection)) return pass('sidecar');
  const bypass = policy.loopback.application === 'bypass-local';
  return bypass && passesLocally(policy, connection) ? pass('app-local') : null;
}

/** Where local traffic passes before DNS is looked at, queries do not. */
function passesLocally(policy: RedirectPolicy, { local, protocol, port }: Connection): boolean {
  if (!local) return false;
  if (!dnsComesLater(policy)) return true;
  return protocol === 'tcp' && !(policy.dns.tcp === 'capture' && port === DNS_PORT);
}

function dnsComesLater({ mesh, dns }: RedirectPolicy): boolean {
  const order = orderOf(mesh);
  return dns.mode !== 'off' && order.indexOf('dns') > order.indexOf('identity');
}

function decideInbound(policy: RedirectPolicy, connection: Connection): OrderedDecision {
  const { inbound, interfaces, outbound, ports } = policy;
  const { protocol, port, family, from, to } = connection;
  const tcp = protocol === 'tcp';
  if (connection.local) return pass('local-traffic');
  if (interfaces.reroute.some((name) => byInterface(name, connection))) {
    const included = outbound.includeCidrs === '*' || inBlocks(outbound.includeCidrs, family, to);
    return tcp && outbound.enabled && included
      ? { verdict: 'outbound', rule: 'rerouted-interface' }
      : pass('rerouted-interface');
  }
  for (const { name, cidr } of interfaces.virtual) {
    const block = parseCidr(cidr);
    if (block === null || block.family !== family || !byInterface(name, connection)) continue;
    if (!tcp && port === DNS_PORT && policy.dns.mode !== 'off' && policy.dns.target !== null) {
      return { verdict: 'dns', rule: 'virtual-network' };
    }
    if (tcp && outbound.enabled && !cidrContains(block, to)) {
      return { verdict: 'outbound', rule: 'virtual-network' };
    }
  }
  if (interfaces.exclude.some((name) => byInterface(name, connection))) return pass('excluded-interface');
  if (!tcp) return pass('udp');
  if (port === ports.tunnel) return pass('tunnel-port');
  if (from !== null && inBlocks(inbound.excludeSources, family, from)) return pass('excluded-source');
  if (!inbound.enabled) return pass('not-included');
  if (inbound.includePorts !== '*') {
    return within(inbound.includePorts, port)
      ? { verdict: 'inbound', rule: 'included-port' }
      : pass('not-included');
  }
  if (within(inbound.excludePorts, port)) return pass('excluded-port');
  return { verdict: 'inbound', rule: 'capture-all' };
}

function pass(rule: OrderedRule): OrderedDecision {
  return { verdict: 'pass', rule };
}

function owners(
  { identity }: RedirectPolicy,
  { uid, gid }: Connection,
): { kind: 'uid' | 'gid'; fits: boolean }[] {
  return [
    ...identity.proxyUids.map((id) => ({ kind: 'uid' as const, fits: id === uid })),
    ...identity.proxyGids.map((id) => ({ kind: 'gid' as const, fits: id === gid })),
  ];
}

function isSidecar(policy: RedirectPolicy, connection: Connection): boolean {
  return owners(policy, connection).some(({ fits }) => fits);
}

function isLocalhost({ loopback }: RedirectPolicy, { family, to }: Connection): boolean {
  return inBlocks([family === 4 ? loopback.localhost4 : '::1/128'], family, to);
}

function isServer({ dns }: RedirectPolicy, { family, to }: Connection): boolean {
  if (dns.mode === 'all') return true;
  const text = formatAddress(to);
  if (dns.mode === 'localhost') return text === (family === 4 ? '127.0.0.1' : '::1');
  return dns.servers.includes(text);
}

function inBlocks(texts: readonly string[], family: 4 | 6, address: Uint8Array): boolean {
  return texts.some((text) => {
    const block = parseCidr(text);
    return block !== null && block.family === family && cidrContains(block, address);
  });
}

function byInterface(pattern: string, { interface: name }: Connection): boolean {
  if (name === undefined) return false;
  return pattern.endsWith('+') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function within(ranges: readonly IdRange[], value: number): boolean {
  return ranges.some(({ first, last }) => first <= value && value <= last);
}

function speaksOf(protocols: Protocols, protocol: 'tcp' | 'udp'): boolean {
  return protocols === 'both' || protocols === protocol;
}
