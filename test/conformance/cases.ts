/** Every connection that is tried: who opens it, from which address, and where it goes. */
import type { Family, Mesh } from './meshes.ts';

/** Ports of the application and of the outside host; nobody listens on the last. */
export const PORTS = {
  app: 8080,
  inExcluded: 9000,
  outExcluded: 3306,
  tunnel: 15008,
  health: 15021,
  closed: 81,
};
/** Of the outside host, and within the block that the pods exclude. */
export const EXCLUDED_HOST = { 4: '192.0.2.130', 6: '2001:db8:2::8002' };
/** Of a second interface of every pod. */
export const SECOND_ADDRESS = { 4: '198.51.100.7', 6: 'fd99::7' };
export const PASSTHROUGH = { 4: '127.0.0.6', 6: '::6' };
/** Where Istio's validation connects to. */
const VALIDATION_PORT = 15002;

export type Who = 'app' | 'sidecar' | 'proxy-gid' | 'proxy-uid' | 'root' | 'outside';

export interface Case {
  who: Who;
  source: 'default' | 'passthrough';
  /** Of the destination, in words. */
  to: string;
  family: Family;
  host: string;
  port: number;
}

export interface Identity {
  uid: number;
  gid: number;
  container: 'app' | 'sidecar';
}

/** `proxy-uid` is an application that has taken on the sidecar's user and group. */
export function identityOf(who: Who, { proxyId }: Mesh): Identity {
  switch (who) {
    case 'app':
      return { uid: 1000, gid: 1000, container: 'app' };
    case 'sidecar':
      return { uid: proxyId, gid: proxyId, container: 'sidecar' };
    case 'proxy-gid':
      return { uid: 1000, gid: proxyId, container: 'app' };
    case 'proxy-uid':
      return { uid: proxyId, gid: proxyId, container: 'app' };
    case 'root':
    case 'outside':
      return { uid: 0, gid: 0, container: 'app' };
  }
}

interface Hosts {
  pod: string;
  outside: string;
}

/** Cases of one family, for a pod and an outside host of these addresses. */
export function casesOf(mesh: Mesh, family: Family, hosts: Hosts): Case[] {
  const outgoing = destinations(mesh, family, hosts);
  const users: Who[] = ['app', 'sidecar', 'proxy-gid', 'proxy-uid', 'root'];
  return [
    ...users.flatMap((who) =>
      (['default', 'passthrough'] as const).flatMap((source) =>
        outgoing
          // Bound to an IPv4 address, an IPv6 socket that maps IPv4 would only repeat the IPv4 row.
          .filter(({ host }) => source === 'default' || !host.startsWith('::ffff:'))
          .map((place) => ({ who, source, family, ...place })),
      ),
    ),
    ...incoming(mesh, hosts).map((place) => ({
      who: 'outside' as const,
      source: 'default' as const,
      family,
      ...place,
    })),
  ];
}

type Place = Pick<Case, 'to' | 'host' | 'port'>;

function destinations({ outbound, inbound }: Mesh, family: Family, { pod, outside }: Hosts): Place[] {
  const localhost = family === 4 ? '127.0.0.1' : '::1';
  const places: Place[] = [
    { to: 'outside', host: outside, port: PORTS.app },
    { to: 'outside, excluded port', host: outside, port: PORTS.outExcluded },
    { to: 'outside, excluded block', host: EXCLUDED_HOST[family], port: PORTS.app },
    { to: 'outside, closed port', host: outside, port: PORTS.closed },
    { to: 'localhost', host: localhost, port: PORTS.app },
    { to: 'localhost, closed port', host: localhost, port: PORTS.closed },
    { to: 'localhost, outbound port', host: localhost, port: outbound },
    { to: 'unspecified address', host: family === 4 ? '0.0.0.0' : '::', port: PORTS.app },
    { to: 'passthrough address', host: PASSTHROUGH[family], port: VALIDATION_PORT },
    { to: 'own pod', host: pod, port: PORTS.app },
    { to: 'own pod, out-excluded port', host: pod, port: PORTS.outExcluded },
    { to: 'own pod, in-excluded port', host: pod, port: PORTS.inExcluded },
    { to: 'own pod, 15008', host: pod, port: PORTS.tunnel },
    { to: 'own pod, inbound port', host: pod, port: inbound },
    { to: 'own pod, second interface', host: SECOND_ADDRESS[family], port: PORTS.app },
  ];
  if (family === 6) return places;
  return [
    ...places,
    { to: 'other loopback', host: '127.0.0.9', port: PORTS.app },
    { to: 'outside, mapped', host: `::ffff:${outside}`, port: PORTS.app },
    { to: 'localhost, mapped', host: '::ffff:127.0.0.1', port: PORTS.app },
    { to: 'own pod, mapped', host: `::ffff:${pod}`, port: PORTS.app },
  ];
}

function incoming({ outbound, inbound }: Mesh, { pod }: Hosts): Place[] {
  return [
    { to: 'pod', host: pod, port: PORTS.app },
    { to: 'pod, in-excluded port', host: pod, port: PORTS.inExcluded },
    { to: 'pod, 15008', host: pod, port: PORTS.tunnel },
    { to: 'pod, 15021', host: pod, port: PORTS.health },
    { to: 'pod, closed port', host: pod, port: PORTS.closed },
    { to: 'pod, inbound port', host: pod, port: inbound },
    { to: 'pod, outbound port', host: pod, port: outbound },
  ];
}
