import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { at, BIN, NODE, ROOT } from './place.mjs';

/** Debian 12's: old enough to differ from most machines', new enough for the whole data plane. */
const KERNEL = '6.1';
/** What shows in a few emulated minutes that another kernel takes the programs and redirects by them. */
const SHORT = [
  'node --conditions=source test/vm/load.test.ts',
  // Its verifier may take a branch for dead that is not: then connections go right and are counted wrong.
  `node --conditions=source --test-name-pattern="under the sidecar's user" test/contained/identity.test.ts`,
  'node --conditions=source test/conformance/main.ts --mesh istio --backend ebpf --failed',
].join(' && ');
const TIMEOUT_S = 600;
/** With no eBPF on the machine the guest runs what needs it, 10 to 30 times slower. */
const ALL_TIMEOUT_S = 3 * 3600;
const FILE_TIMEOUT_S = 1800;
/**
 * What the guest then runs: that the programs load, and take every connection where the rules would. The rest is whole
 * agents and proxies under load, which would take it a day's work, and files that outlast any limit.
 */
const CORE = [
  'native/libbpf-ts/',
  'src/agent/',
  'src/cli/bench/',
  'src/cli/explain/',
  'src/datapath/',
  'src/pod/',
  'test/conformance/',
  'test/contained/',
  'test/iptables/orders.test.ts',
  'test/policy/',
  'test/vm/',
];
/** The guest cannot be had, which says nothing about what it would have run. */
const UNAVAILABLE = /\[(SHUNT_E_VM_(?:PACKAGE|QEMU|MACHINE))\]/;
const TAIL_LINES = 40;

/** @param {string} file below the checkout */
export function inGuest(file) {
  return CORE.some((folder) => file.startsWith(folder));
}

/**
 * Runs tests on another kernel, in an emulated machine.
 *
 * @param {string[]} files by path below the checkout, when nothing else can test eBPF here: a guest that cannot be had
 *   is a failure then; none for a short suite
 * @param {AbortSignal} signal ends it
 * @param {(line: string) => void} tell gets what the guest prints of its files, as they end
 * @returns {Promise<{tests: {name: string, outcome: 'passed'|'failed'|'skipped', reason?: string}[],
 *   output: string, ms: number}>} one test for all of them
 */
export async function runInGuest(files, signal, tell) {
  const startedAt = performance.now();
  const isOnlyEbpf = files.length > 0;
  const timeout = String(isOnlyEbpf ? ALL_TIMEOUT_S : TIMEOUT_S);
  const chosen = files.flatMap((file) => ['--file', file]);
  const inside = isOnlyEbpf
    ? ['node', '.ci/test.mjs', ...chosen, '--no-guest', '--timeout', String(FILE_TIMEOUT_S)]
    : ['sh', '-c', SHORT];
  const runner = ['--conditions=source', at('vagrant', 'main.ts'), '--kernel', KERNEL, '--timeout', timeout];
  const path = `PATH=${BIN}:${process.env.PATH}`;
  const child = spawn(NODE, [...runner, '--memory', '3072', '--env', path, '--', ...inside], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  child.on('error', () => {}); // aborted: 'close' follows
  // Not once(), which takes the abort for an error.
  const closed = new Promise((resolve) => child.on('close', resolve));
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (output += text));
  if (isOnlyEbpf)
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line !== '') tell(`guest: ${line}`);
    });
  const code = await closed;
  const tail = output.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
  const unavailable = code === 0 ? null : UNAVAILABLE.exec(output);
  const what = isOnlyEbpf ? 'what needs eBPF' : 'load, identity and conformance with Istio';
  const name = `${what} on Linux ${KERNEL}, in a guest`;
  const ms = performance.now() - startedAt;
  if (unavailable !== null && !isOnlyEbpf)
    return {
      tests: [{ name, outcome: 'skipped', reason: tail }],
      output: '',
      ms,
    };
  return { tests: [{ name, outcome: code === 0 ? 'passed' : 'failed' }], output: tail, ms };
}
