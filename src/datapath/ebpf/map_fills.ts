/** How full the maps are that can be. */
import type { MapFill } from '../interface.ts';
import type { NodeObjects } from './objects.ts';

/** Of the maps whose entries come and go with pods and connections. */
export function mapFills({ connect, sockops }: NodeObjects): MapFill[] {
  const counted = [
    connect.maps.shunt_pods,
    connect.maps.shunt_addrs,
    connect.maps.shunt_policies,
    connect.maps.shunt_ports,
    connect.maps.shunt_cidrs,
    connect.maps.shunt_ids,
    connect.maps.shunt_targets,
    sockops.maps.shunt_listeners,
    sockops.maps.shunt_pairs,
    sockops.maps.shunt_offers,
    sockops.maps.shunt_peers,
    sockops.maps.shunt_flows,
  ];
  return counted.map((map) => ({
    name: map.name.replace(/^shunt_/, ''),
    type: map.type,
    entries: map.size(),
    capacity: map.maxEntries,
  }));
}
