import type { PortRange, RedirectPolicy } from '../policy/policy.ts';
import type { Cell } from './output/cell.ts';
import type { Field } from './output/table.ts';

/** A redirect policy for people. */
export const POLICY_FIELDS: readonly Field<RedirectPolicy>[] = [
  { label: 'Mesh', value: (policy) => policy.mesh },
  { label: 'Sidecar uids', value: (policy) => policy.identity.proxyUids },
  { label: 'Sidecar gids', value: (policy) => policy.identity.proxyGids },
  { label: 'Outbound port', value: (policy) => policy.ports.outbound },
  { label: 'Inbound port', value: (policy) => policy.ports.inbound },
  { label: 'Tunnel port', value: (policy) => policy.ports.tunnel },
  { label: 'Outbound CIDRs', value: ({ outbound }) => listOrAll(outbound.includeCidrs) },
  { label: 'Outbound CIDRs excluded', value: ({ outbound }) => outbound.excludeCidrs },
  { label: 'Outbound ports always', value: ({ outbound }) => ports(outbound.includePorts) },
  { label: 'Outbound ports excluded', value: ({ outbound }) => ports(outbound.excludePorts) },
  {
    label: 'Inbound ports',
    value: ({ inbound }) => (inbound.includePorts === '*' ? 'all' : ports(inbound.includePorts)),
  },
  { label: 'Inbound ports excluded', value: ({ inbound }) => ports(inbound.excludePorts) },
  { label: 'Self-calls go inbound', value: (policy) => policy.loopback.selfCallInbound },
  { label: 'Passthrough source', value: (policy) => policy.loopback.passthroughSource },
];

function listOrAll(list: string[] | '*'): Cell {
  return list === '*' ? 'all' : list;
}

function ports(ranges: readonly PortRange[]): Cell {
  return ranges.map(({ first, last }) => (first === last ? first : `${first}-${last}`));
}
