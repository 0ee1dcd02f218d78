import { run } from './command.ts';
import {
  INBOUND_EXCLUDED,
  INBOUND_PORT,
  OUTBOUND_PORT,
  PASSTHROUGH,
  SIDECAR_GID,
  SIDECAR_UID,
  TUNNEL_PORT,
} from './istio.ts';
import { type Netns, within } from './topology.ts';

export interface IstioRules {
  family: 4 | 6;
  excludeOutboundPorts?: readonly number[];
  excludeInboundPorts?: readonly number[];
  /** IPv4. */
  excludeOutboundCidrs?: readonly string[];
}

/**
 * Istio's nat rules with default settings, as a document for iptables-restore: the baseline that Shunt is held
 * against. Order and predicates: `istio-iptables` in REDIRECT mode.
 */
export function istioRules({
  family,
  excludeOutboundPorts = [],
  excludeInboundPorts = [],
  excludeOutboundCidrs = [],
}: IstioRules): string {
  const localhost = family === 4 ? '127.0.0.1/32' : '::1/128';
  const passthrough = family === 4 ? `${PASSTHROUGH.ip4}/32` : `${PASSTHROUGH.ip6}/128`;
  const inboundExcluded = [TUNNEL_PORT, ...INBOUND_EXCLUDED, ...excludeInboundPorts];
  const proxy = (owner: string, id: number): string[] => [
    `-A ISTIO_OUTPUT ! -d ${localhost} -o lo -p tcp -m tcp ! --dport ${TUNNEL_PORT} -m owner --${owner} ${id} -j ISTIO_IN_REDIRECT`,
    `-A ISTIO_OUTPUT -o lo -m owner ! --${owner} ${id} -j RETURN`,
    `-A ISTIO_OUTPUT -m owner --${owner} ${id} -j RETURN`,
  ];
  const rules = [
    '*nat',
    ':ISTIO_INBOUND - [0:0]',
    ':ISTIO_IN_REDIRECT - [0:0]',
    ':ISTIO_OUTPUT - [0:0]',
    ':ISTIO_REDIRECT - [0:0]',
    '-A PREROUTING -p tcp -j ISTIO_INBOUND',
    '-A OUTPUT -j ISTIO_OUTPUT',
    ...inboundExcluded.map((port) => `-A ISTIO_INBOUND -p tcp -m tcp --dport ${port} -j RETURN`),
    '-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT',
    `-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports ${INBOUND_PORT}`,
    ...excludeOutboundPorts.flatMap((port) =>
      ['tcp', 'udp'].map(
        (protocol) => `-A ISTIO_OUTPUT -p ${protocol} -m ${protocol} --dport ${port} -j RETURN`,
      ),
    ),
    `-A ISTIO_OUTPUT -s ${passthrough} -o lo -j RETURN`,
    ...proxy('uid-owner', SIDECAR_UID),
    ...proxy('gid-owner', SIDECAR_GID),
    `-A ISTIO_OUTPUT -d ${localhost} -j RETURN`,
    ...(family === 4 ? excludeOutboundCidrs : []).map((cidr) => `-A ISTIO_OUTPUT -d ${cidr} -j RETURN`),
    '-A ISTIO_OUTPUT -j ISTIO_REDIRECT',
    `-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports ${OUTBOUND_PORT}`,
    'COMMIT',
  ];
  return `${rules.join('\n')}\n`;
}

/** Puts Istio's rules into a pod, both families. Only ever for baseline pods. */
export async function applyIstioRules(pod: Netns, options: Omit<IstioRules, 'family'> = {}): Promise<void> {
  const families: [4 | 6, string][] = [[4, 'iptables-restore']];
  if (pod.ip6 !== null) families.push([6, 'ip6tables-restore']);
  await Promise.all(
    families.map(([family, tool]) =>
      run(within(pod, [tool, '--noflush']), istioRules({ family, ...options })),
    ),
  );
}

/** Every rule of a pod, both families, as iptables-save prints them; empty when there is none. */
export async function rulesOf(pod: Netns): Promise<string> {
  const tools = ['iptables-save', ...(pod.ip6 === null ? [] : ['ip6tables-save'])];
  const saved = await Promise.all(tools.map((tool) => run(within(pod, [tool]))));
  return saved.join('').trim();
}
