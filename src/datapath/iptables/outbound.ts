/** The chain of nat/OUTPUT: what a process of the pod sends. */

import { orderOf, type Step } from '../../policy/order.ts';
import type { PortRange, Protocols } from '../../policy/policy.ts';
import {
  blocks,
  destination,
  hosts,
  interfaceName,
  notOwner,
  number,
  type Owner,
  owner,
  portMatches,
  tcpExcept,
  uidRange,
} from './match.ts';
import { CHAINS, type Target } from './target.ts';

const DNS_PORT = 53;

/** The chains of outbound traffic: the entry, and the rest of it behind the owner groups where there are any. */
export function outboundChains(target: Target): [string, string[]][] {
  const order = orderOf(target.policy.mesh);
  const { includeGids } = target.policy.exempt;
  const rulesOf = (steps: readonly Step[]): string[] => steps.flatMap((step) => STEPS[step](target));
  if (includeGids === '*') return [[CHAINS.output, rulesOf(order)]];
  const split = order.indexOf('groups');
  // iptables takes 255 words a rule, too few for one rule that names 64 groups: each is asked for itself.
  const enter = includeGids.map((id) => `${owner({ kind: 'gid', id })} -j ${CHAINS.groups}`);
  return [
    [CHAINS.output, [...rulesOf(order.slice(0, split)), ...enter]],
    [CHAINS.groups, rulesOf(order.slice(split))],
  ];
}

const STEPS: Record<Step, (target: Target) => string[]> = {
  interfaces: ({ policy }) => policy.interfaces.exclude.map((name) => `-o ${interfaceName(name)} -j RETURN`),

  users: ({ policy }) => policy.exempt.uids.map((range) => `${uidRange(range)} -j RETURN`),

  'user-ports': ({ policy }) =>
    policy.exempt.uidPorts.flatMap(({ protocols, ports, uids }) =>
      protocolMatches(protocols, ports).map((match) => `${match} ${uidRange(uids)} -j RETURN`),
    ),

  ports: ({ policy: { outbound } }) =>
    protocolMatches(outbound.excludePortProtocols, outbound.excludePorts).map(
      (match) => `${match} -j RETURN`,
    ),

  passthrough: ({ policy, passthrough }) =>
    policy.loopback.passthroughSource ? [`-s ${passthrough} -o lo -j RETURN`] : [],

  'pod-ip': (target) => {
    const { policy, podAddress } = target;
    if (!policy.loopback.sidecarLocalhostToPodIp || podAddress === null || !policy.outbound.enabled)
      return [];
    const to = podAddress.includes(':') ? `[${podAddress}]` : podAddress;
    return owners(target).map(
      (id) => `-d ${target.localhostHost} -o lo -p tcp ${owner(id)} -j DNAT --to-destination ${to}`,
    );
  },

  identity: (target) =>
    target.policy.loopback.sidecar === 'inbound' ? selfCallingSidecar(target) : plainSidecar(target),

  groups: ({ policy }) => policy.exempt.excludeGids.map((id) => `${owner({ kind: 'gid', id })} -j RETURN`),

  'sidecar-dns': (target) => {
    const { mode, tcp } = target.policy.dns;
    if (mode === 'off') return [];
    const queries = protocolMatches(tcp === 'capture' ? 'both' : 'udp', [
      { first: DNS_PORT, last: DNS_PORT },
    ]);
    return queries.flatMap((match) => owners(target).map((id) => `${match} ${owner(id)} -j RETURN`));
  },

  dns: dnsRules,

  localhost: ({ policy, localhost }) =>
    policy.loopback.application === 'bypass-local' && policy.loopback.sidecar === 'bypass'
      ? []
      : [`-d ${localhost} -j RETURN`],

  blocks: ({ policy, family }) =>
    blocks(policy.outbound.excludeCidrs, family).map((block) => `-d ${block} -j RETURN`),

  'included-ports': ({ policy: { outbound } }) =>
    outbound.enabled
      ? portMatches('tcp', outbound.includePorts).map((match) => `${match} -j ${CHAINS.toOutbound}`)
      : [],

  included: ({ policy: { outbound }, family }) => {
    if (!outbound.enabled) return [];
    if (outbound.includeCidrs === '*') return [`-p tcp -j ${CHAINS.toOutbound}`];
    return blocks(outbound.includeCidrs, family).map((block) => `-d ${block} -p tcp -j ${CHAINS.toOutbound}`);
  },
};

/** Sidecar's uids, then its gids: the order in which a socket's owner is asked for. */
export function owners({ policy: { identity } }: Target): Owner[] {
  return [
    ...identity.proxyUids.map((id) => ({ kind: 'uid', id }) as const),
    ...identity.proxyGids.map((id) => ({ kind: 'gid', id }) as const),
  ];
}

/**
 * For each owner in turn, as Istio, Kuma and OSM do: its calls to its own pod are inbound, everyone else's local calls
 * pass, and so does the rest of its own. With two uids the first lets the second's self-calls pass; so does Istio.
 */
function selfCallingSidecar(target: Target): string[] {
  const { policy, localhost } = target;
  const { tunnel } = policy.ports;
  const dns = dnsComesLater(target) && policy.dns.tcp === 'capture';
  return owners(target).flatMap((id) => {
    // Istio's gid rule has no exception for DNS.
    const except = [...(tunnel === null ? [] : [tunnel]), ...(dns && id.kind === 'uid' ? [DNS_PORT] : [])];
    const selfCall = `! -d ${localhost} -o lo ${tcpExcept(except)} ${owner(id)} -j ${CHAINS.toInbound}`;
    return [
      ...(policy.outbound.enabled ? [selfCall] : []),
      ...(policy.loopback.application === 'bypass-local'
        ? [`-o lo ${localProtocol(target)}${notOwner(id)} -j RETURN`]
        : []),
      `${owner(id)} -j RETURN`,
    ];
  });
}

/** Linkerd, Consul and App Mesh: the sidecar passes, and with most of them all that is local. */
function plainSidecar(target: Target): string[] {
  return [
    ...owners(target).map((id) => `${owner(id)} -j RETURN`),
    ...(target.policy.loopback.application === 'bypass-local'
      ? [`-o lo ${localProtocol(target)}-j RETURN`]
      : []),
  ];
}

/** Where local traffic passes before DNS is looked at, queries do not. */
function localProtocol(target: Target): string {
  if (!dnsComesLater(target)) return '';
  return `${tcpExcept(target.policy.dns.tcp === 'capture' ? [DNS_PORT] : [])} `;
}

function dnsComesLater({ policy }: Target): boolean {
  const order = orderOf(policy.mesh);
  return policy.dns.mode !== 'off' && order.indexOf('dns') > order.indexOf('identity');
}

function dnsRules(target: Target): string[] {
  const { policy } = target;
  const jump = dnsJump(target);
  if (jump === null) return [];
  const everyoneElse = owners(target).map(notOwner).join(' ');
  const tcp = {
    capture: dnsDestinations(target).map((to) => `${to}-p tcp -m tcp --dport ${DNS_PORT} ${jump}`),
    bypass: [`-p tcp -m tcp --dport ${DNS_PORT} ${everyoneElse} -j RETURN`],
    'as-other-tcp': [],
  }[policy.dns.tcp];
  const udp = dnsDestinations(target).map((to) => `${to}-p udp -m udp --dport ${DNS_PORT} ${jump}`);
  return [...(policy.dns.tcp === 'capture' ? tcp : []), ...udp, ...(policy.dns.tcp === 'bypass' ? tcp : [])];
}

/** The verdict on a query; null where none is captured in this family. */
export function dnsJump({ policy: { dns }, family }: Target): string | null {
  if (dns.mode === 'off' || dns.target === null) return null;
  const { address, port } = dns.target;
  if (address === null) return `-j REDIRECT --to-ports ${number(port)}`;
  return address.includes(':') === (family === 6)
    ? `-j DNAT --to-destination ${destination(address, port)}`
    : null;
}

/** `-d` matches of the queries meant, each for a rule of its own. */
export function dnsDestinations(target: Target): string[] {
  return dnsServers(target).map((block) => (block === null ? '' : `-d ${block} `));
}

/** Servers of this family as blocks; one null for any. */
export function dnsServers({ policy: { dns }, family, localhostHost }: Target): (string | null)[] {
  switch (dns.mode) {
    case 'off':
      return [];
    case 'all':
      return [null];
    case 'servers':
      return hosts(dns.servers, family);
    case 'localhost':
      return [localhostHost];
  }
}

function protocolMatches(protocols: Protocols, ports: readonly PortRange[]): string[] {
  const each: ('tcp' | 'udp')[] = protocols === 'both' ? ['tcp', 'udp'] : [protocols];
  return each.flatMap((protocol) => portMatches(protocol, ports));
}
