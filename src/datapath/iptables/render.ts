/**
 * RedirectPolicy -> rules of one family. What a rule says and where it stands is the mesh's own; names are ours, so that
 * both can stand in one pod. Every value is a number or canonical text: nothing of an annotation comes through as it was.
 */
import type { AddressFamily } from '../../policy/address.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import { inboundRules } from './inbound.ts';
import { number } from './match.ts';
import { outboundChains } from './outbound.ts';
import { EMPTY, type Ruleset, transition } from './ruleset.ts';
import { CHAINS, targetOf } from './target.ts';
import { zoneRules } from './zones.ts';

/**
 * Connection tracking takes up connections that are older than the rules at whatever packet it sees first, and that may be
 * an answer: redirected, it would never arrive. A mesh's own rules are there before any connection; ours may come later.
 */
const SYN = '-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN';

/**
 * Rules of a policy; none when the mesh installs none for the family.
 *
 * @param podAddress the pod's address of this family, for rules that name it
 * @throws SHUNT_E_POLICY for a value that no rule can hold
 */
export function rulesetOf(policy: RedirectPolicy, family: AddressFamily, podAddress: string | null): Ruleset {
  if (!(family === 4 ? policy.families.ip4 : policy.families.ip6)) return EMPTY;
  const target = targetOf(policy, family, podAddress);
  const ruleset: Ruleset = new Map();
  const zones = zoneRules(target);
  if (zones !== null) {
    ruleset.set('raw', {
      chains: new Map([
        [CHAINS.zonesOut, zones.output],
        [CHAINS.zonesIn, zones.prerouting],
      ]),
      jumps: [
        { chain: 'PREROUTING', rule: `-j ${CHAINS.zonesIn}` },
        { chain: 'OUTPUT', rule: `-j ${CHAINS.zonesOut}` },
      ],
    });
  }
  if (policy.misc.dropInvalid) {
    ruleset.set('mangle', {
      chains: new Map([[CHAINS.invalid, ['-m conntrack --ctstate INVALID -j DROP']]]),
      jumps: [{ chain: 'PREROUTING', rule: `-j ${CHAINS.invalid}` }],
    });
  }
  ruleset.set('nat', {
    chains: new Map([
      [CHAINS.toOutbound, [`${SYN} -j REDIRECT --to-ports ${number(policy.ports.outbound)}`]],
      [CHAINS.toInbound, [`${SYN} -j REDIRECT --to-ports ${number(policy.ports.inbound)}`]],
      ...outboundChains(target),
      [CHAINS.inbound, inboundRules(target)],
    ]),
    jumps: [
      { chain: 'PREROUTING', rule: `-j ${CHAINS.inbound}` },
      { chain: 'OUTPUT', rule: `-j ${CHAINS.output}` },
    ],
  });
  return ruleset;
}

/**
 * The part of a policy's rules that inbound connections meet, for pods whose outbound connections eBPF redirects.
 * Parameters as rulesetOf.
 */
export function inboundRulesetOf(
  policy: RedirectPolicy,
  family: AddressFamily,
  podAddress: string | null,
): Ruleset {
  const nat = rulesetOf(policy, family, podAddress).get('nat');
  if (nat === undefined) return EMPTY;
  const chains = [CHAINS.toInbound, CHAINS.inbound];
  return new Map([
    [
      'nat',
      {
        chains: new Map([...nat.chains].filter(([name]) => chains.some((chain) => chain === name))),
        jumps: nat.jumps.filter(({ chain }) => chain === 'PREROUTING'),
      },
    ],
  ]);
}

/** The document that puts a policy into a network namespace which holds none. Parameters as rulesetOf. */
export function renderDocument(
  policy: RedirectPolicy,
  family: AddressFamily,
  podAddress: string | null = null,
): string {
  return transition(EMPTY, rulesetOf(policy, family, podAddress));
}
