/** What the kernel matrix runs: each a program of this checkout whose exit code is 0 when all of it passed. */
import type { Tier } from '../../src/datapath/tier.ts';

export interface Suite {
  name: string;
  /** Arguments of Node. */
  args: readonly string[];
  timeoutMs: number;
  /** Set in guests alone: fewer rounds of the same checks. */
  emulated?: Readonly<Record<string, string>>;
  /** The lowest tier that it can say something of: a kernel below it is not held to it. */
  tier: Tier;
}

const MINUTE_MS = 60_000;
/** Of test/conformance; a name also stands for those that begin with it. */
const MESHES = ['istio', 'linkerd', 'kuma', 'consul', 'osm', 'appmesh'];

function conformance(mesh: string, ...more: string[]): readonly string[] {
  return ['test/conformance/main.ts', '--backend', 'ebpf', '--failed', '--mesh', mesh, ...more];
}

/** Limits are wide: emulated, and beside other work, a mesh alone takes two to six minutes. */
export const SUITES: readonly Suite[] = [
  { name: 'load', args: ['--test', 'test/vm/load.test.ts'], timeoutMs: 10 * MINUTE_MS, tier: 1 },
  ...MESHES.map((mesh) => ({
    name: mesh,
    args: conformance(mesh),
    timeoutMs: 30 * MINUTE_MS,
    tier: 1 as const,
  })),
  {
    name: 'istio at tier 1',
    args: conformance('istio', '--max-tier', '1'),
    timeoutMs: 30 * MINUTE_MS,
    tier: 1,
  },
  {
    name: 'contained',
    args: ['--test', '--test-concurrency=1', 'test/contained/*.test.ts'],
    timeoutMs: 40 * MINUTE_MS,
    tier: 2,
  },
  { name: 'tiers', args: ['--test', 'test/e2e/tiers.test.ts'], timeoutMs: 20 * MINUTE_MS, tier: 1 },
  {
    name: 'faithful',
    args: ['test/faithful/main.ts'],
    timeoutMs: 90 * MINUTE_MS,
    emulated: { SHUNT_FAITHFUL_CROWD: '200' },
    tier: 1,
  },
  {
    name: 'faults',
    args: ['--test', '--test-concurrency=1', 'test/faults/*.test.ts'],
    timeoutMs: 60 * MINUTE_MS,
    tier: 2,
  },
  {
    name: 'integrity',
    args: ['test/integrity/main.ts', '--minutes', '0', '--size', '1', '--sidecar', 'haproxy'],
    timeoutMs: 45 * MINUTE_MS,
    tier: 3,
  },
];
