import type { PortRange, RedirectPolicy } from '../policy/policy.ts';
import type { Cell } from './output/cell.ts';
import type { Field } from './output/table.ts';

/** A redirect policy for people. What few policies have is shown by `-o wide`. */
export const POLICY_FIELDS: readonly Field<RedirectPolicy>[] = [
  { label: 'Mesh', value: (policy) => policy.mesh },
  {
    label: 'Families',
    value: ({ families }) => [families.ip4 ? 'IPv4' : [], families.ip6 ? 'IPv6' : []].flat(),
  },
  { label: 'Sidecar uids', value: (policy) => policy.identity.proxyUids },
  { label: 'Sidecar gids', value: (policy) => policy.identity.proxyGids },
  { label: 'Outbound port', value: (policy) => policy.ports.outbound },
  { label: 'Inbound port', value: (policy) => policy.ports.inbound },
  { label: 'Tunnel port', value: (policy) => policy.ports.tunnel },
  { label: 'Outbound capture', value: ({ outbound }) => outbound.enabled },
  { label: 'Outbound CIDRs', value: ({ outbound }) => listOrAll(outbound.includeCidrs) },
  { label: 'Outbound CIDRs excluded', value: ({ outbound }) => outbound.excludeCidrs },
  { label: 'Outbound ports always', value: ({ outbound }) => ranges(outbound.includePorts) },
  { label: 'Outbound ports excluded', value: ({ outbound }) => ranges(outbound.excludePorts) },
  { label: 'Excluded ports of', value: ({ outbound }) => outbound.excludePortProtocols, wide: true },
  { label: 'Inbound capture', value: ({ inbound }) => inbound.enabled },
  {
    label: 'Inbound ports',
    value: ({ inbound }) => (inbound.includePorts === '*' ? 'all' : ranges(inbound.includePorts)),
  },
  { label: 'Inbound ports excluded', value: ({ inbound }) => ranges(inbound.excludePorts) },
  { label: 'Inbound sources excluded', value: ({ inbound }) => inbound.excludeSources },
  { label: 'Users exempt', value: ({ exempt }) => ranges(exempt.uids) },
  {
    label: 'Users exempt by port',
    value: ({ exempt }) =>
      exempt.uidPorts.map(
        (rule) => `${rule.protocols}:${ranges(rule.ports).join('+')}:${ranges([rule.uids]).join('')}`,
      ),
    wide: true,
  },
  { label: 'Groups captured', value: ({ exempt }) => listOrAll(exempt.includeGids), wide: true },
  { label: 'Groups exempt', value: ({ exempt }) => exempt.excludeGids, wide: true },
  { label: 'Localhost', value: ({ loopback }) => loopback.localhost4, wide: true },
  { label: 'Application to its pod', value: ({ loopback }) => loopback.application },
  { label: 'Sidecar to its pod', value: ({ loopback }) => loopback.sidecar },
  { label: 'Passthrough source', value: (policy) => policy.loopback.passthroughSource },
  {
    label: 'Sidecar localhost to pod IP',
    value: ({ loopback }) => loopback.sidecarLocalhostToPodIp,
    wide: true,
  },
  { label: 'Interfaces excluded', value: ({ interfaces }) => interfaces.exclude, wide: true },
  { label: 'Interfaces rerouted', value: ({ interfaces }) => interfaces.reroute, wide: true },
  {
    label: 'Virtual networks',
    value: ({ interfaces }) => interfaces.virtual.map(({ name, cidr }) => `${name}:${cidr}`),
    wide: true,
  },
  { label: 'DNS', value: ({ dns }) => (dns.mode === 'servers' ? ['servers', ...dns.servers] : dns.mode) },
  { label: 'DNS goes to', value: ({ dns }) => dnsTarget(dns.target) },
  { label: 'DNS over TCP', value: ({ dns }) => (dns.mode === 'off' ? null : dns.tcp), wide: true },
  { label: 'DNS zones split', value: ({ dns }) => dns.splitZones, wide: true },
  { label: 'Invalid packets dropped', value: ({ misc }) => misc.dropInvalid, wide: true },
];

function dnsTarget(target: RedirectPolicy['dns']['target']): Cell {
  if (target === null) return null;
  return target.address === null ? target.port : `${target.address} port ${target.port}`;
}

function listOrAll(list: (string | number)[] | '*'): Cell {
  return list === '*' ? 'all' : list;
}

function ranges(list: readonly PortRange[]): (string | number)[] {
  return list.map(({ first, last }) => (first === last ? first : `${first}-${last}`));
}
