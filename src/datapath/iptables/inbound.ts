/** The chain of nat/PREROUTING: what reaches the pod from outside. Its own loopback traffic never comes here. */
import { blocks, interfaceName, number, portMatches } from './match.ts';
import { dnsJump } from './outbound.ts';
import { CHAINS, type Target } from './target.ts';

export function inboundRules(target: Target): string[] {
  const { policy, family } = target;
  const { inbound, ports } = policy;
  return [
    ...rerouted(target),
    ...virtualNetworks(target),
    ...policy.interfaces.exclude.map((name) => `-i ${interfaceName(name)} -j RETURN`),
    ...(ports.tunnel === null ? [] : [`-p tcp -m tcp --dport ${number(ports.tunnel)} -j RETURN`]),
    ...blocks(inbound.excludeSources, family).map((block) => `-s ${block} -j RETURN`),
    ...(inbound.enabled ? captured(inbound) : []),
  ];
}

function captured({ includePorts, excludePorts }: Target['policy']['inbound']): string[] {
  if (includePorts !== '*') {
    return portMatches('tcp', includePorts).map((match) => `${match} -j ${CHAINS.toInbound}`);
  }
  return [
    ...portMatches('tcp', excludePorts).map((match) => `${match} -j RETURN`),
    `-p tcp -j ${CHAINS.toInbound}`,
  ];
}

/** What comes in by these interfaces is a guest's outbound traffic (Istio). */
function rerouted({ policy, family }: Target): string[] {
  const { includeCidrs, enabled } = policy.outbound;
  return policy.interfaces.reroute.map(interfaceName).flatMap((name) => {
    const to = includeCidrs === '*' ? [''] : blocks(includeCidrs, family).map((block) => `-d ${block} `);
    return [
      ...(enabled ? to.map((block) => `${block}-i ${name} -p tcp -j ${CHAINS.toOutbound}`) : []),
      `-i ${name} -j RETURN`,
    ];
  });
}

/** Kuma's virtual networks: their queries, and what leaves them. */
function virtualNetworks(target: Target): string[] {
  const { policy, family } = target;
  return policy.interfaces.virtual.flatMap(({ name, cidr }) => {
    const [block] = blocks([cidr], family);
    if (block === undefined) return [];
    const by = `-i ${interfaceName(name)}`;
    const jump = dnsJump(target);
    return [
      ...(jump === null ? [] : [`${by} -p udp -m udp --dport 53 ${jump}`]),
      ...(policy.outbound.enabled ? [`! -d ${block} ${by} -p tcp -j ${CHAINS.toOutbound}`] : []),
    ];
  });
}
