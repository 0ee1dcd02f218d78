import { ShuntError } from '../errors.ts';
import { canonicalCidr } from './cidr.ts';
import type { PortRange, RedirectPolicy } from './policy.ts';
import { formatPortRange, isPort, isPortRange } from './port_range.ts';

/** As many uids, and as many gids, as a policy in the kernel holds (SHUNT_MAX_PROXY_IDS of bpf/layout.h). */
export const MAX_PROXY_IDS = 4;
/** Uids are 32 bits, and the last one means "none" to the kernel. */
const MAX_ID = 0xffff_fffe;

/** What is wrong with a policy, one sentence for each value; empty when it can be enforced. */
export function policyProblems(policy: RedirectPolicy): string[] {
  const { identity, ports, outbound, inbound } = policy;
  return [
    ...identityProblems(identity),
    ...sidecarPort('ports.outbound', ports.outbound),
    ...sidecarPort('ports.inbound', ports.inbound),
    ...(ports.tunnel === null ? [] : sidecarPort('ports.tunnel', ports.tunnel)),
    ...portRanges('outbound.excludePorts', outbound.excludePorts),
    ...portRanges('outbound.includePorts', outbound.includePorts),
    ...cidrs('outbound.excludeCidrs', outbound.excludeCidrs),
    ...(outbound.includeCidrs === '*' ? [] : cidrs('outbound.includeCidrs', outbound.includeCidrs)),
    ...(inbound.includePorts === '*' ? [] : portRanges('inbound.includePorts', inbound.includePorts)),
    ...portRanges('inbound.excludePorts', inbound.excludePorts),
  ];
}

/**
 * @param target names the policy's owner in the error: a pod, a file
 * @throws SHUNT_E_POLICY with every problem
 */
export function checkPolicy(policy: RedirectPolicy, target?: string): void {
  const problems = policyProblems(policy);
  if (problems.length === 0) return;
  throw new ShuntError('SHUNT_E_POLICY', problems.join('; '), target === undefined ? {} : { target });
}

function identityProblems(identity: RedirectPolicy['identity']): string[] {
  const problems = [
    ...ids('identity.proxyUids', identity.proxyUids),
    ...ids('identity.proxyGids', identity.proxyGids),
  ];
  if (identity.proxyUids.length + identity.proxyGids.length === 0) {
    // Without one, the sidecar's own connections would be sent back to it.
    problems.push('identity names neither a uid nor a gid of the sidecar');
  }
  return problems;
}

function ids(field: string, values: readonly number[]): string[] {
  const problems = values
    .filter((value) => !Number.isInteger(value) || value < 0 || value > MAX_ID)
    .map((value) => `${field}: ${value} is not an id from 0 to ${MAX_ID}`);
  if (values.length > MAX_PROXY_IDS) {
    problems.push(`${field}: ${values.length} ids, at most ${MAX_PROXY_IDS} are supported`);
  }
  return problems;
}

function sidecarPort(field: string, port: number): string[] {
  return isPort(port) && port !== 0 ? [] : [`${field}: ${port} is not a port from 1 to 65535`];
}

function portRanges(field: string, ranges: readonly PortRange[]): string[] {
  return ranges
    .filter((range) => !isPortRange(range))
    .map((range) => `${field}: ${formatPortRange(range)} is not a port or a range from 0 to 65535`);
}

function cidrs(field: string, texts: readonly string[]): string[] {
  return texts.flatMap((text) => {
    const canonical = canonicalCidr(text);
    if (canonical === null) return [`${field}: ${JSON.stringify(text)} is not a CIDR`];
    return canonical === text ? [] : [`${field}: ${text} is to be written ${canonical}`];
  });
}
