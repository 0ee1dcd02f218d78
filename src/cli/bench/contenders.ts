/** What is compared: pods of one lab, captured each in its own way. */
import { HAPROXY } from '../../lab/haproxy.ts';
import { Lab, type PodOptions } from '../../lab/lab.ts';
import type { SidecarKind } from '../../lab/sidecar.ts';

/**
 * In the order of the tables. `redirect` is Shunt without acceleration, `accelerated` Shunt as it is, and `full` the
 * same where the pod opted in for its applications.
 */
export const CONTENDERS = ['direct', 'iptables', 'redirect', 'accelerated', 'full'] as const;
export type Contender = (typeof CONTENDERS)[number];

/** Rules that exclude a block of addresses each, of which none is called. */
export const RULE_COUNTS = [0, 1_000, 10_000] as const;
export type RuleCount = (typeof RULE_COUNTS)[number];

/**
 * Where connections lead: through both sidecars to a pod of the same node; through one to a host outside, from a pod with
 * so many rules; or to a server in the sidecar's place, which answers by itself, alone or beside a crowd of connections
 * that are open.
 */
export type Path = 'pod' | 'outside' | 'sidecar' | 'crowd' | `rules-${RuleCount}`;

/** What grows with connections or rules is compared where it matters; the others say nothing new there. */
const OF_CROWD: readonly Contender[] = ['iptables', 'accelerated'];

/** Those of a run that are measured on a path. */
export function contendersOf(path: Path, all: readonly Contender[]): Contender[] {
  const few = path === 'crowd' || path.startsWith('rules-');
  return all.filter((contender) => !few || OF_CROWD.includes(contender));
}

const CAPTURE: Record<Contender, Pick<PodOptions, 'capture' | 'annotations'>> = {
  direct: { capture: 'none' },
  iptables: { capture: 'iptables' },
  redirect: { capture: 'shunt', annotations: { 'shunt.dev/acceleration': 'off' } },
  accelerated: { capture: 'shunt' },
  full: { capture: 'shunt', annotations: { 'shunt.dev/acceleration': 'full' } },
};

/** Pods of each path, by a letter; the first calls. */
const ENDS: Record<Path, readonly string[]> = {
  pod: ['1', '2'],
  outside: ['1'],
  sidecar: ['h'],
  crowd: ['c'],
  'rules-0': ['r0'],
  'rules-1000': ['r1'],
  'rules-10000': ['r2'],
};

/** Short enough for the name of the bridge's port to it. */
function podName(contender: Contender, end: string): string {
  return `${contender.slice(0, 8)}${end}`;
}

/** Names of the pods that a contender has on a path; the first calls. */
export function podsOf(contender: Contender, path: Path): [string, ...string[]] {
  const [first = '', ...more] = ENDS[path].map((end) => podName(contender, end));
  return [first, ...more];
}

/** 100.64.0.0/10 in blocks of a few addresses, none next to another, so that nothing merges them. */
function excludedCidrs(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `100.${64 + (index >> 8)}.${index & 255}.0/28`);
}

/** A lab with the pods of every contender that these paths need. */
export function openLab(
  prefix: string,
  options: { sidecar: SidecarKind; contenders: readonly Contender[]; paths: ReadonlySet<Path> },
  signal?: AbortSignal,
): Promise<Lab> {
  const { sidecar, contenders, paths } = options;
  const pods = new Map<string, PodOptions>();
  for (const path of paths) {
    const excludeOutboundCidrs = path.startsWith('rules-') ? excludedCidrs(Number(path.slice(6))) : [];
    for (const contender of contendersOf(path, contenders)) {
      for (const name of podsOf(contender, path)) {
        pods.set(name, { name, ...CAPTURE[contender], excludeOutboundCidrs });
      }
    }
  }
  return Lab.open({ prefix, sidecar, pods: [...pods.values()], apps: false, exitOnSignal: false, signal });
}

/** The lightest proxy there is, so that what carries the bytes shows. */
export const LIGHT_SIDECAR = HAPROXY.kind;
