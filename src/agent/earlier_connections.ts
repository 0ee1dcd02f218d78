/**
 * Connections that a pod had before it was enrolled. Neither backend touches an established connection, so those that
 * the policy would have captured pass by the sidecar for as long as they live: they are counted.
 */
import { connectedSockets, listeningSockets } from '../pod/socket_table.ts';
import type { Workload } from '../pod/workload.ts';
import { formatAddress } from '../policy/address.ts';
import { decideInOrder } from '../policy/decision.ts';

/**
 * How many established connections of the pod pass by its sidecar. One that the mesh's own rules have redirected already
 * does not: its other end is in the pod as well. Where a policy names no uid, none is counted: the owner of a socket
 * is told by its uid alone.
 *
 * @throws as connectedSockets()
 */
export function countBypassing({ netns, policy }: Workload): number {
  const { proxyUids } = policy.identity;
  if (proxyUids.length === 0) return 0;
  const sockets = connectedSockets(netns.path);
  if (sockets.length === 0) return 0;
  const own = new Set(netns.addresses);
  const peersInside = new Set(sockets.map(({ remote, remotePort }) => endpoint(remote, remotePort)));
  const served = new Set(listeningSockets(netns.path).map(({ port }) => port));
  return sockets.filter(({ family, local, remote, localPort, remotePort, uid }) => {
    const from = formatAddress(remote);
    if (proxyUids.includes(uid) || own.has(from) || from.startsWith('127.') || from === '::1') return false;
    if (peersInside.has(endpoint(local, localPort))) return false;
    const inbound = served.has(localPort);
    const asked = { protocol: 'tcp', family, uid, gid: uid, local: false } as const;
    const { verdict } = inbound
      ? decideInOrder(policy, { ...asked, direction: 'inbound', to: local, from: remote, port: localPort })
      : decideInOrder(policy, { ...asked, direction: 'outbound', to: remote, from: local, port: remotePort });
    return verdict !== 'pass';
  }).length;
}

function endpoint(address: Uint8Array, port: number): string {
  return `${formatAddress(address)} ${port}`;
}
