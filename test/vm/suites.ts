/** What the kernel matrix runs: each a program of this checkout whose exit code is 0 when all of it passed. */
export interface Suite {
  name: string;
  /** Arguments of Node. */
  args: readonly string[];
  timeoutMs: number;
  /** Starts the eBPF data plane, which a kernel that rejects one of its programs cannot. */
  needsLoad: boolean;
}

const MINUTE_MS = 60_000;

export const SUITES: readonly Suite[] = [
  { name: 'load', args: ['--test', 'test/vm/load.test.ts'], timeoutMs: 3 * MINUTE_MS, needsLoad: false },
  {
    name: 'conformance',
    args: ['test/conformance/main.ts', '--mesh', 'all', '--backend', 'ebpf', '--failed'],
    timeoutMs: 45 * MINUTE_MS, // 90 s a mesh, emulated
    needsLoad: true,
  },
  {
    name: 'integrity',
    args: ['test/integrity/main.ts', '--minutes', '0', '--size', '1', '--sidecar', 'haproxy'],
    timeoutMs: 45 * MINUTE_MS,
    needsLoad: true,
  },
  { name: 'faithful', args: ['test/faithful/main.ts'], timeoutMs: 45 * MINUTE_MS, needsLoad: true },
];
