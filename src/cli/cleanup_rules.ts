/** Rules of the iptables backend, as `shunt cleanup` finds them: by the records beside the agent's socket. */
import { dirname } from 'node:path';
import { IptablesDatapath, type Part } from '../datapath/iptables/datapath.ts';

export interface RulesRemoval {
  kind: 'rules';
  /** The network namespace. */
  path: string;
  cookie: string;
  ip4: string | null;
  ip6: string | null;
}

/** Network namespaces that hold rules of ours. @param parts all of them where none are named */
export function heldRules(socket: string, parts?: readonly Part[]): RulesRemoval[] {
  return IptablesDatapath.recorded(dirname(socket), parts).map(({ netns, cookie, ip4, ip6 }) => {
    return { kind: 'rules', path: netns, cookie, ip4, ip6 };
  });
}

/**
 * Takes the rules out of every pod; those of others stay. No agent may be running with this socket.
 *
 * @throws SHUNT_E_IPTABLES_APPLY, SHUNT_E_IPTABLES_MISSING
 */
export async function removeRules(socket: string): Promise<RulesRemoval[]> {
  const removals = heldRules(socket);
  for (const part of ['inbound', 'whole'] as const) {
    using datapath = new IptablesDatapath(dirname(socket), part);
    for (const { cookie } of datapath.pods()) await datapath.withdraw(cookie);
  }
  return removals;
}
