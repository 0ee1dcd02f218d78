/**
 * Conntrack zones for DNS. A client's query to the sidecar and the sidecar's query upstream may carry one and the same
 * five-tuple; in one zone the second would take the first's translation. Source: Istio and Kuma, which number them so.
 */
import { number, owner } from './match.ts';
import { dnsJump, dnsServers, owners } from './outbound.ts';
import type { Target } from './target.ts';

const UPSTREAM_ZONE = 1;
const CLIENT_ZONE = 2;

/** Rules of raw/OUTPUT and raw/PREROUTING; null where queries are not captured or not to be kept apart. */
export function zoneRules(target: Target): { output: string[]; prerouting: string[] } | null {
  const { dns } = target.policy;
  if (!dns.splitZones || dns.target === null || dnsJump(target) === null) return null;
  const servers = dnsServers(target);
  if (servers.length === 0) return null;
  const { port } = dns.target;
  const ct = (zone: number): string => `-j CT --zone ${zone}`;
  return {
    output: [
      ...owners(target).flatMap((id) => [
        `-p udp -m udp --dport 53 ${owner(id)} ${ct(UPSTREAM_ZONE)}`,
        `-p udp -m udp --sport ${number(port)} ${owner(id)} ${ct(CLIENT_ZONE)}`,
      ]),
      ...servers.map((block) => `${at('-d', block)}-p udp -m udp --dport 53 ${ct(CLIENT_ZONE)}`),
    ],
    prerouting: servers.map((block) => `${at('-s', block)}-p udp -m udp --sport 53 ${ct(UPSTREAM_ZONE)}`),
  };
}

function at(option: string, block: string | null): string {
  return block === null ? '' : `${option} ${block} `;
}
