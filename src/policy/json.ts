import { canonicalCidr, compareCidrs, parseCidr } from './cidr.ts';
import type { PortRange, RedirectPolicy } from './policy.ts';
import { mergePortRanges } from './port_range.ts';

/**
 * The same policy in its one form: port ranges merged, CIDRs canonical, lists sorted and without duplicates. Uids and
 * gids keep their order, which is the order they are matched in.
 */
export function normalPolicy(policy: RedirectPolicy): RedirectPolicy {
  // Every key by name and in this order: the text of two equal policies is equal, and a field added to the type
  // does not compile until it stands here.
  return {
    mesh: policy.mesh,
    identity: {
      proxyUids: [...new Set(policy.identity.proxyUids)],
      proxyGids: [...new Set(policy.identity.proxyGids)],
    },
    ports: {
      outbound: policy.ports.outbound,
      inbound: policy.ports.inbound,
      tunnel: policy.ports.tunnel,
    },
    loopback: {
      selfCallInbound: policy.loopback.selfCallInbound,
      passthroughSource: policy.loopback.passthroughSource,
    },
    outbound: {
      excludePorts: normalPorts(policy.outbound.excludePorts),
      includePorts: normalPorts(policy.outbound.includePorts),
      excludeCidrs: normalCidrs(policy.outbound.excludeCidrs),
      includeCidrs: policy.outbound.includeCidrs === '*' ? '*' : normalCidrs(policy.outbound.includeCidrs),
    },
    inbound: {
      includePorts: policy.inbound.includePorts === '*' ? '*' : normalPorts(policy.inbound.includePorts),
      excludePorts: normalPorts(policy.inbound.excludePorts),
    },
  };
}

/** Text that is equal for equal policies, and only for those: what content is hashed and shared by. */
export function canonicalPolicy(policy: RedirectPolicy): string {
  return JSON.stringify(normalPolicy(policy));
}

function normalPorts(ranges: readonly PortRange[]): PortRange[] {
  return mergePortRanges(ranges).map(({ first, last }) => ({ first, last }));
}

function normalCidrs(texts: readonly string[]): string[] {
  const unique = new Set(texts.map((text) => canonicalCidr(text) ?? text));
  return [...unique]
    .map((text) => ({ text, cidr: parseCidr(text) }))
    .sort((a, b) => compareCidrs(a.cidr, b.cidr) || (a.text < b.text ? -1 : 1))
    .map(({ text }) => text);
}
