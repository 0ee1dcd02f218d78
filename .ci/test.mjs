#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { withBpffs } from './bpffs.mjs';
import { runChecks } from './check.mjs';
import { inGuest, runInGuest } from './guest.mjs';
import { reachedFrom, sourceFiles } from './imports.mjs';
import { at, NODE, ROOT } from './place.mjs';
import { filesUnder } from './setup/stamps.mjs';
import { endAll, runTestFile } from './test-file.mjs';

const USAGE = `usage: node .ci/test.mjs [all|unit|e2e] [--file TEXT]... [--timeout SECONDS] [--no-guest] [--verbose]
  unit  what needs no kernel feature and no root; e2e  test/ alone; all  both, the rest, and the static checks
  --file     only files whose path holds TEXT
  --timeout  for one file; default 180
  --no-guest  skip what this kernel cannot run, instead of running it in an emulated machine
  --verbose  name every test
`;
/** A file that takes longer is named while it runs: in an emulated machine that is most of them. */
const SLOW_MS = 60_000;
const ELSEWHERE = ['test/cni/drivers/', 'test/image/', 'test/node/', 'test/cluster/'];
const FFI = 'native/libbpf-ts/src/ffi.ts';

let stoppedBy;
const stop = new AbortController();
const tally = { passed: 0, failed: 0, skipped: 0 };

/** @param {string[]} texts of --file; what a file reaches is read for the chosen alone, which takes minutes emulated */
function testFiles(texts) {
  const ours = sourceFiles().filter((file) => file.endsWith('.test.ts'));
  const tooling = filesUnder(at('.ci'), (name) => name.endsWith('.test.mjs')).map((file) =>
    relative(ROOT, file),
  );
  const chosen = [...tooling, ...ours].filter(
    (file) => texts.length === 0 || texts.some((text) => file.includes(text)),
  );
  return chosen.map((file) => {
    const reached = reachedFrom(file);
    const isE2e = file.startsWith('test/');
    const hasLab = [...reached].some((name) => name.startsWith('src/lab/'));
    return {
      file,
      isE2e,
      // With a lab an agent may run, in a process of its own.
      needsEbpf: reached.has(FFI) || (isE2e && hasLab),
      // Namespaces, cgroups and attached programs: one file at a time.
      isAlone: isE2e || hasLab || reached.has('koffi'),
    };
  });
}

/** Runs files, so many at once, and tells of each as it ends. */
async function runFiles(files, atOnce, { timeoutMs, verbose }) {
  const queue = [...files];
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined && !stoppedBy; next = queue.shift()) {
      const { file } = next;
      const startedAt = performance.now();
      const said = () =>
        print(`... ${file}: running for ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
      const slow = setInterval(said, SLOW_MS);
      tell(file, await runTestFile(file, timeoutMs).finally(() => clearInterval(slow)), verbose);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

function tell(file, { tests, output, ms }, verbose) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { outcome } of tests) counts[outcome]++;
  for (const outcome of Object.keys(counts)) tally[outcome] += counts[outcome];
  const shown = Object.entries(counts).filter(([, count]) => count > 0);
  const summary = shown.map(([outcome, count]) => `${count} ${outcome}`).join(', ');
  print(`${counts.failed > 0 ? 'FAIL' : 'ok  '} ${file}: ${summary} (${(ms / 1000).toFixed(1)} s)`);
  for (const { name, outcome, reason, error } of tests) {
    if (outcome === 'passed' && !verbose) continue;
    print(`       ${outcome}: ${name}${reason ? ` # ${reason}` : ''}`);
    if (error) print(indented(error));
  }
  if (counts.failed > 0 && output !== '') print(`       what it printed last:\n${indented(output)}`);
}

function indented(text) {
  return text.replace(/^/gm, '         ');
}

function print(line) {
  process.stdout.write(`${line}\n`);
}

function kernelFault() {
  const probe = spawnSync(NODE, [at('.ci', 'kernel-probe.mjs')], { encoding: 'utf8' });
  if (probe.status === 0) return probe.stdout;
  return `the probe failed: ${(probe.stderr || probe.error?.message || '').trim().split('\n').at(-1)}`;
}

/**
 * Parts what this machine's kernel can run from what it cannot, and says so.
 *
 * @param {boolean} hasGuest whether a guest then runs the rest, instead of nobody
 * @param {boolean} areNamed whether they were asked for by name: the guest then runs all of them
 */
function partByEbpf(files, hasGuest, areNamed) {
  const needing = files.filter(({ needsEbpf }) => needsEbpf).map(({ file }) => file);
  const fault = needing.length === 0 ? '' : kernelFault();
  if (fault === '') return { files, elsewhere: [] };
  const isForGuest = (file) => hasGuest && (areNamed || inGuest(file));
  const [elsewhere, skipped] = [needing.filter(isForGuest), needing.filter((file) => !isForGuest(file))];
  print(`\neBPF does not work here: ${fault}.`);
  list('The test files that need it and are run in an emulated machine:', elsewhere);
  list('Those that are skipped:', skipped);
  if (hasGuest && skipped.length > 0)
    print('They take hours, emulated. One of them: npm test -- --file PATH\n');
  tally.skipped += skipped.length;
  return { files: files.filter(({ needsEbpf }) => !needsEbpf), elsewhere };
}

function list(title, files) {
  if (files.length === 0) return;
  print(title);
  for (const file of files) print(`       ${file}`);
  print('');
}

/** Null when it is wrong; why is said by then. */
function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        file: { type: 'string', multiple: true, default: [] },
        timeout: { type: 'string', default: '180' },
        'no-guest': { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    process.stderr.write(`${error.message}\n${USAGE}`);
    return null;
  }
}

async function main() {
  const given = commandLine();
  if (given === null) return 2;
  const { values, positionals } = given;
  const [scope = 'all'] = positionals;
  const timeoutMs = Number(values.timeout) * 1000;
  if (!['all', 'unit', 'e2e'].includes(scope) || positionals.length > 1 || !(timeoutMs > 0)) {
    process.stderr.write(USAGE);
    return 2;
  }
  if (scope === 'all' && values.file.length === 0) {
    runChecks((name, faults, ms) => {
      const tests = [{ name, outcome: faults.length === 0 ? 'passed' : 'failed', error: faults.join('\n') }];
      tell(name, { tests, output: '', ms }, false);
    });
  }
  const inScope = testFiles(values.file).filter(({ file, isE2e, isAlone }) => {
    // They need a container runtime, an image or a cluster: `npm run test:cni`, `test:image`, `test:node` and
    // `test:cluster` see to that, and name them.
    if (ELSEWHERE.some((folder) => file.startsWith(folder)) && values.file.length === 0) return false;
    return !(scope === 'unit' ? isAlone : scope === 'e2e' ? !isE2e : false);
  });
  const hasGuest = scope === 'all' && !values['no-guest'];
  const { files, elsewhere } = partByEbpf(inScope, hasGuest, values.file.length > 0);
  const options = { timeoutMs, verbose: values.verbose };
  await runFiles(
    files.filter(({ isAlone }) => !isAlone),
    Math.min(2, availableParallelism()),
    options,
  );
  await runFiles(
    files.filter(({ isAlone }) => isAlone),
    1,
    options,
  );
  // Named files are run here alone, where they can be.
  if (hasGuest && !stoppedBy && (values.file.length === 0 || elsewhere.length > 0)) {
    tell('guest', await runInGuest(elsewhere, stop.signal, print), values.verbose);
  }

  if (stoppedBy) {
    print(`\nstopped by ${stoppedBy}`);
    return 130;
  }
  const { passed, failed, skipped } = tally;
  if (passed + failed === 0) print('\nNo test ran.');
  print(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

// The files that run are asked to end, and ended; what they made is theirs to take down.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    stoppedBy = signal;
    stop.abort();
    endAll();
  });
}
const unmount = withBpffs(print);
try {
  process.exitCode = await main();
} finally {
  unmount();
}
