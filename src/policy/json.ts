import { canonicalAddress } from './address.ts';
import { canonicalCidr, compareCidrs, parseCidr } from './cidr.ts';
import type { IdRange, PortRange, RedirectPolicy } from './policy.ts';
import { mergePortRanges } from './port_range.ts';

/**
 * The same policy in its one form: port ranges merged, CIDRs canonical, lists sorted and without duplicates. Uids and
 * gids keep their order, which is the order they are matched in.
 */
export function normalPolicy(policy: RedirectPolicy): RedirectPolicy {
  // Every key by name and in this order: the text of two equal policies is equal, and a field added to the type
  // does not compile until it stands here.
  const { families, identity, exempt, ports, loopback, outbound, inbound, interfaces, dns } = policy;
  return {
    mesh: policy.mesh,
    families: { ip4: families.ip4, ip6: families.ip6 },
    identity: {
      proxyUids: [...new Set(identity.proxyUids)],
      proxyGids: [...new Set(identity.proxyGids)],
    },
    exempt: {
      uids: normalRanges(exempt.uids),
      includeGids: exempt.includeGids === '*' ? '*' : normalNumbers(exempt.includeGids),
      excludeGids: normalNumbers(exempt.excludeGids),
      uidPorts: normalObjects(
        exempt.uidPorts.map((rule) => ({
          protocols: rule.protocols,
          ports: normalRanges(rule.ports),
          uids: { first: rule.uids.first, last: rule.uids.last },
        })),
      ),
    },
    ports: { outbound: ports.outbound, inbound: ports.inbound, tunnel: ports.tunnel },
    loopback: {
      localhost4: canonicalCidr(loopback.localhost4) ?? loopback.localhost4,
      application: loopback.application,
      sidecar: loopback.sidecar,
      passthroughSource: loopback.passthroughSource,
      sidecarLocalhostToPodIp: loopback.sidecarLocalhostToPodIp,
    },
    outbound: {
      enabled: outbound.enabled,
      excludePorts: normalRanges(outbound.excludePorts),
      excludePortProtocols: outbound.excludePortProtocols,
      includePorts: normalRanges(outbound.includePorts),
      excludeCidrs: normalCidrs(outbound.excludeCidrs),
      includeCidrs: outbound.includeCidrs === '*' ? '*' : normalCidrs(outbound.includeCidrs),
    },
    inbound: {
      enabled: inbound.enabled,
      includePorts: inbound.includePorts === '*' ? '*' : normalRanges(inbound.includePorts),
      excludePorts: normalRanges(inbound.excludePorts),
      excludeSources: normalCidrs(inbound.excludeSources),
    },
    interfaces: {
      exclude: normalTexts(interfaces.exclude),
      reroute: normalTexts(interfaces.reroute),
      virtual: normalObjects(
        interfaces.virtual.map(({ name, cidr }) => ({ name, cidr: canonicalCidr(cidr) ?? cidr })),
      ),
    },
    dns: {
      mode: dns.mode,
      servers: normalTexts(dns.servers.map((text) => canonicalAddress(text) ?? text)),
      target: dns.target === null ? null : normalTarget(dns.target),
      tcp: dns.tcp,
      splitZones: dns.splitZones,
    },
    misc: { dropInvalid: policy.misc.dropInvalid },
  };
}

/** Text that is equal for equal policies, and only for those: what content is hashed and shared by. */
export function canonicalPolicy(policy: RedirectPolicy): string {
  return JSON.stringify(normalPolicy(policy));
}

function normalTarget(target: { address: string | null; port: number }): {
  address: string | null;
  port: number;
} {
  const address = target.address === null ? null : (canonicalAddress(target.address) ?? target.address);
  return { address, port: target.port };
}

function normalRanges<T extends PortRange | IdRange>(
  ranges: readonly T[],
): { first: number; last: number }[] {
  return mergePortRanges(ranges).map(({ first, last }) => ({ first, last }));
}

function normalNumbers(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

function normalTexts(values: readonly string[]): string[] {
  return [...new Set(values)].sort();
}

/** Of objects whose keys stand in one order, so that their text orders them. */
function normalObjects<T extends object>(values: readonly T[]): T[] {
  const byText = new Map(values.map((value) => [JSON.stringify(value), value]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}

function normalCidrs(texts: readonly string[]): string[] {
  const unique = new Set(texts.map((text) => canonicalCidr(text) ?? text));
  return [...unique]
    .map((text) => ({ text, cidr: parseCidr(text) }))
    .sort((a, b) => compareCidrs(a.cidr, b.cidr) || (a.text < b.text ? -1 : 1))
    .map(({ text }) => text);
}
