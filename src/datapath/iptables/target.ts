import type { AddressFamily } from '../../policy/address.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import { address, blocks } from './match.ts';

/** Our chains, by what they do. */
export const CHAINS = {
  output: 'SHUNT_OUTPUT',
  groups: 'SHUNT_GROUPS',
  inbound: 'SHUNT_INBOUND',
  toOutbound: 'SHUNT_TO_OUTBOUND',
  toInbound: 'SHUNT_TO_INBOUND',
  invalid: 'SHUNT_INVALID',
  zonesOut: 'SHUNT_ZONES_OUT',
  zonesIn: 'SHUNT_ZONES_IN',
} as const;

/** A policy in one family, and what its rules call things there. */
export interface Target {
  policy: RedirectPolicy;
  family: AddressFamily;
  /** What localhost means to the policy, as a block. */
  localhost: string;
  /** 127.0.0.1 or ::1, as a block. */
  localhostHost: string;
  /** Source of the sidecar's own way to its application. */
  passthrough: string;
  /** The pod's address, canonical. */
  podAddress: string | null;
}

/** @param podAddress the pod's address of this family, or null when it has none or it is not known */
export function targetOf(policy: RedirectPolicy, family: AddressFamily, podAddress: string | null): Target {
  const localhostHost = family === 4 ? '127.0.0.1/32' : '::1/128';
  const [localhost = localhostHost] =
    family === 4 ? blocks([policy.loopback.localhost4], 4) : [localhostHost];
  return {
    policy,
    family,
    localhost,
    localhostHost,
    passthrough: family === 4 ? '127.0.0.6/32' : '::6/128',
    podAddress: podAddress === null ? null : address(podAddress),
  };
}
