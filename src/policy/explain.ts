import { isLoopbackCidr, parseCidr } from './cidr.ts';
import type { PortRange, RedirectPolicy } from './policy.ts';
import { formatPortRange } from './port_range.ts';

/** One rule of a policy in words. */
export interface PolicyRule {
  direction: 'outbound' | 'inbound';
  /** Which connections it is about. */
  when: string;
  /** What happens to them. */
  then: string;
}

const LEFT = 'left alone';

/**
 * The policy as people read it: TCP rules in the order in which they are tried, the first that fits decides. The order
 * is that of bpf/policy.h, which takes the decisions.
 */
export function explainPolicy(policy: RedirectPolicy): PolicyRule[] {
  return [...outboundRules(policy), ...inboundRules(policy)];
}

function outboundRules(policy: RedirectPolicy): PolicyRule[] {
  const { outbound, loopback, ports } = policy;
  const sidecar = sidecarName(policy);
  const captured = `to the sidecar, port ${ports.outbound}`;
  const rules: PolicyRule[] = [];
  const rule = (when: string, then: string) => rules.push({ direction: 'outbound', when, then });

  if (outbound.excludePorts.length > 0) rule(`to ${portList(outbound.excludePorts)}`, LEFT);
  if (loopback.passthroughSource) rule('from 127.0.0.6 or ::6 to an address of the pod', LEFT);
  if (loopback.selfCallInbound) {
    const except = ports.tunnel === null ? '' : `, not to port ${ports.tunnel}`;
    rule(
      `from ${sidecar} to an address of the pod other than localhost${except}`,
      `to the sidecar, port ${ports.inbound}`,
    );
  }
  if (!includesLoopback(policy)) rule('from the application to an address of the pod', LEFT);
  rule(`from ${sidecar}`, LEFT);
  rule('to 127.0.0.1 or ::1', LEFT);
  if (outbound.excludeCidrs.length > 0) rule(`to ${outbound.excludeCidrs.join(', ')}`, LEFT);
  if (outbound.includePorts.length > 0) rule(`to ${portList(outbound.includePorts)}`, captured);
  if (outbound.includeCidrs === '*') {
    rule('to anywhere else', captured);
  } else {
    if (outbound.includeCidrs.length > 0) rule(`to ${outbound.includeCidrs.join(', ')}`, captured);
    rule('to anywhere else', LEFT);
  }
  return rules;
}

function inboundRules({ inbound, ports }: RedirectPolicy): PolicyRule[] {
  const captured = `to the sidecar, port ${ports.inbound}`;
  const rules: PolicyRule[] = [];
  const rule = (when: string, then: string) => rules.push({ direction: 'inbound', when, then });

  if (ports.tunnel !== null) rule(`to port ${ports.tunnel}`, LEFT);
  if (inbound.includePorts === '*') {
    if (inbound.excludePorts.length > 0) rule(`to ${portList(inbound.excludePorts)}`, LEFT);
    rule('to any other port', captured);
  } else {
    if (inbound.includePorts.length > 0) rule(`to ${portList(inbound.includePorts)}`, captured);
    rule('to any other port', LEFT);
  }
  return rules;
}

/** An include list that names loopback turns off the rule that lets the application talk to itself. */
function includesLoopback({ outbound }: RedirectPolicy): boolean {
  if (outbound.includeCidrs === '*') return false;
  return outbound.includeCidrs.some((text) => {
    const cidr = parseCidr(text);
    return cidr !== null && isLoopbackCidr(cidr);
  });
}

function sidecarName({ identity }: RedirectPolicy): string {
  const ids = [
    ...identity.proxyUids.map((uid) => `uid ${uid}`),
    ...identity.proxyGids.map((gid) => `gid ${gid}`),
  ];
  return `the sidecar (${ids.join(' or ')})`;
}

function portList(ranges: readonly PortRange[]): string {
  const [only] = ranges;
  const word = ranges.length === 1 && only?.first === only?.last ? 'port' : 'ports';
  return `${word} ${ranges.map(formatPortRange).join(', ')}`;
}
