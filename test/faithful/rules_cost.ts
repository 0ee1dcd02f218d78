/** What a connect() costs in a pod with many rules, against one with none. */
import { ratio } from '../../src/lab/statistics.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { Bed, istioPolicy } from './bed.ts';
import type { Puppet } from './puppet.ts';
import { type Contender, PORT } from './stage.ts';

export const CIDRS = 10_000;
export const PORTS = 1_000;

/** Destinations: one that no rule names, so that every list is asked in vain, and without and with a sidecar. */
export const CASES = ['refused', 'served'] as const;
export type Case = (typeof CASES)[number];

export interface Cost {
  contender: Contender;
  case: Case;
  /** Nanoseconds: the median of every round, in order. */
  none: number[];
  many: number[];
}

/** A policy that excludes 10,000 blocks of either family and of many sizes, and 1,000 ports, none next to another. */
export function manyRules(cidrs = CIDRS, ports = PORTS): RedirectPolicy {
  const policy = noRules();
  policy.outbound.excludeCidrs = Array.from({ length: cidrs }, (_, index) => {
    const [high, low] = [Math.floor(index / 256), index % 256];
    if (index % 5 === 4) return `2001:db8:${(0x1000 + high).toString(16)}:${low.toString(16)}::/64`;
    // 100.64.0.0/10, of which /24, /28 and /32 in turn.
    return `100.${64 + high}.${low}.0/${[24, 28, 32][index % 3]}`;
  });
  policy.outbound.excludePorts = Array.from({ length: ports }, (_, index) => {
    const port = 30_000 + 2 * index;
    return { first: port, last: port };
  });
  return policy;
}

export function noRules(): RedirectPolicy {
  const policy = istioPolicy();
  policy.outbound.excludeCidrs = [];
  policy.outbound.excludePorts = [];
  return policy;
}

/**
 * Measures both pods in turn, so that a busy moment hits both.
 *
 * @param options.connects in a round
 */
export async function measure(options: {
  contenders: readonly ('iptables' | 'ebpf')[];
  rounds: number;
  connects: number;
}): Promise<Cost[]> {
  const { contenders, rounds, connects } = options;
  const pods = contenders.flatMap((contender) => [
    [`${contender}0`, { contender, policy: noRules() }] as const,
    [`${contender}1`, { contender, policy: manyRules() }] as const,
  ]);
  await using bed = await Bed.open(Object.fromEntries(pods));
  const costs: Cost[] = [];
  for (const contender of contenders) {
    for (const which of CASES) {
      await using stack = new AsyncDisposableStack();
      const apps: Puppet[] = [];
      for (const name of [`${contender}0`, `${contender}1`]) {
        const stage = stack.use(bed.stage(name));
        if (which === 'served') await stage.sidecar({ brief: true });
        apps.push(await stage.app());
      }
      const cost: Cost = { contender, case: which, none: [], many: [] };
      const sample = async (app: Puppet | undefined): Promise<number> => {
        const answer = await app?.quietly('time-connects', connects, bed.topology.outside.ip4, PORT.app);
        if (answer?.error !== (which === 'served' ? 'none' : 'ECONNREFUSED')) {
          throw new Error(`${contender}, ${which}: ${JSON.stringify(answer)}`);
        }
        return Number(answer.median_ns);
      };
      for (const app of apps) await sample(app); // warm
      for (let round = 0; round < rounds; round++) {
        // Which is first changes from round to round.
        const [first, second] = round % 2 === 0 ? [cost.none, cost.many] : [cost.many, cost.none];
        first.push(await sample(apps[first === cost.none ? 0 : 1]));
        second.push(await sample(apps[second === cost.none ? 0 : 1]));
      }
      costs.push(cost);
    }
  }
  return costs;
}

/** Median of the rounds' ratios of many to none. */
export function ratioOf({ none, many }: Cost): number {
  return ratio(many, none).median;
}
