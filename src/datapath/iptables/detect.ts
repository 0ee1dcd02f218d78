/**
 * Which iptables a pod's rules belong to. The kernel runs legacy and nf_tables rules side by side, and rules of one are
 * not seen by the tools of the other: ours are to stand beside those that the pod's mesh or runtime has put there. The
 * choice is Istio's, per family: legacy where it works and has rules in this namespace, else nft, else what is there.
 */
import { readFileSync } from 'node:fs';
import { ShuntError } from '../../errors.ts';
import { inNetns } from '../../pod/netns.ts';
import { systemErrorCode } from '../../pod/syscall.ts';
import type { AddressFamily } from '../../policy/address.ts';
import { runInside } from './tool.ts';

export const VARIANTS = ['nft', 'legacy', 'plain'] as const;
export type Variant = (typeof VARIANTS)[number];

/** Taken back by its second line: shows that the kernel has the table, and a rule can be made. */
const PROBE = '*nat\n-A INPUT -p 255 -j RETURN\n-D INPUT -p 255 -j RETURN\nCOMMIT\n';
/** A table that holds nothing prints its name, its chains and COMMIT; three lines of rules are Istio's measure. */
const RULES_THAT_COUNT = 3;

/** @returns program name, such as `ip6tables-nft-save` */
export function program(variant: Variant, family: AddressFamily, what: 'save' | 'restore'): string {
  return `${family === 4 ? 'iptables' : 'ip6tables'}${variant === 'plain' ? '' : `-${variant}`}-${what}`;
}

export class Detector {
  readonly #working = new Map<string, Promise<boolean>>();

  /**
   * Chooses for a namespace in which none of our rules stand yet.
   *
   * @throws SHUNT_E_IPTABLES_MISSING when no variant works on this node
   */
  async choose(netns: string, family: AddressFamily): Promise<Variant> {
    if (legacyTables(netns, family).length > 0 && (await this.#works('legacy', family))) {
      const saved = await runInside(netns, [program('legacy', family, 'save')]);
      const lines = saved.stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
      if (saved.code === 0 && lines.length >= RULES_THAT_COUNT) return 'legacy';
    }
    for (const variant of ['nft', 'plain', 'legacy'] as const) {
      if (await this.#works(variant, family)) return variant;
    }
    throw new ShuntError('SHUNT_E_IPTABLES_MISSING', undefined, {
      target: family === 4 ? 'iptables' : 'ip6tables',
    });
  }

  /** Tried once a process, in a namespace of its own, so that no pod is touched by the trial. */
  #works(variant: Variant, family: AddressFamily): Promise<boolean> {
    const name = program(variant, family, 'restore');
    const known = this.#working.get(name) ?? trial(name);
    this.#working.set(name, known);
    return known;
  }
}

async function trial(name: string): Promise<boolean> {
  try {
    return (await runInside(null, [name, '--noflush'], PROBE)).code === 0;
  } catch (error) {
    if (error instanceof ShuntError && error.code === 'SHUNT_E_IPTABLES_MISSING') return false;
    throw error;
  }
}

/** Names of the tables that legacy iptables has in the namespace, without making any. */
function legacyTables(netns: string, family: AddressFamily): string[] {
  const file = family === 4 ? 'ip_tables_names' : 'ip6_tables_names';
  try {
    const text = inNetns(netns, () => readFileSync(`/proc/thread-self/net/${file}`, 'utf8'));
    return text.split('\n').filter((name) => name !== '');
  } catch (error) {
    // The module is not loaded, so it has no tables.
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
