/**
 * `npm run test:cni`: what an ADD costs, how long a chain that is rewritten lacks us, then every test of CNI at full length, containerd's and cnitool's among them.
 * With `-- --figures` no tests.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/lab/command.ts';
import { median, percentile } from '../../src/lab/statistics.ts';
import { CniBed } from './bed.ts';
import { netconf, PLUGIN, podArgs } from './plugin.ts';
import { rewritten, watching } from './watched.ts';

const PODS = 100;
const ROUNDS = 3;
const ROOT = join(import.meta.dirname, '../..');

/** A call as a runtime makes it, from fork to the end of the process. */
function timed(command: string, env: Record<string, string>, input: string): number {
  const startedMs = performance.now();
  const { status, stdout } = spawnSync(PLUGIN, [], { env: { CNI_COMMAND: command, ...env }, input });
  const tookMs = performance.now() - startedMs;
  if (status !== 0) throw new Error(`${command}: ${stdout}`);
  return tookMs;
}

async function measureAdd(): Promise<void> {
  await using bed = await CniBed.open('cnicost', []);
  const names = Array.from({ length: PODS }, (_, i) => `p${i}`);
  const netns = (name: string) => `${bed.topology.prefix}-cost${name}`;
  const batch = (lines: string[]) => run(['ip', '-force', '-batch', '-'], `${lines.join('\n')}\n`);
  await batch(names.map((name) => `netns add ${netns(name)}`));
  try {
    for (const [i, name] of names.entries())
      await run(['ip', '-n', netns(name), 'addr', 'add', `10.99.0.${i + 1}/32`, 'dev', 'lo']);
    for (const name of names) bed.write({ name, uid: `uid-${name}` });
    await bed.start();
    const config = netconf({ socket: bed.cniSocket });
    const times = { alone: [] as number[], add: [] as number[], again: [] as number[] };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const name of names) {
        const env = {
          CNI_CONTAINERID: `c-${name}`,
          CNI_NETNS: `/run/netns/${netns(name)}`,
          CNI_IFNAME: 'eth0',
          CNI_ARGS: podArgs('default', name, `uid-${name}`),
        };
        const alone = timed('VERSION', env, config);
        const add = timed('ADD', env, config);
        const again = timed('ADD', env, config);
        timed('DEL', env, config);
        // The first round warms up.
        if (round === 0) continue;
        times.alone.push(alone);
        times.add.push(add);
        times.again.push(again);
      }
    }
    const tookMs = bed
      .log()
      .split('\n')
      .filter((line) => line.includes('"command":"ADD"'))
      .map((line) => Number(/"tookMs":([\d.]+)/.exec(line)?.[1]));
    const lines: [string, number[]][] = [
      ['plugin alone (VERSION)', times.alone],
      ['ADD, pod is enrolled', times.add],
      ['ADD again, nothing to do', times.again],
      ['ADD as the agent counts it, both', tookMs.slice(2 * PODS)],
    ];
    process.stdout.write(
      `ADD with a warm agent that knows ${PODS} pods, ms (load ${loadavg()[0]?.toFixed(1)}):\n`,
    );
    process.stdout.write(`${''.padEnd(34)}      p50      p99      n\n`);
    for (const [what, values] of lines) {
      const [p50, p99] = [median(values).toFixed(2), percentile(values, 0.99).toFixed(2)];
      process.stdout.write(
        `${what.padEnd(34)}${p50.padStart(9)}${p99.padStart(9)}${String(values.length).padStart(7)}\n`,
      );
    }
    process.stdout.write('\n');
  } finally {
    await batch(names.map((name) => `netns del ${netns(name)}`));
  }
}

/** A minute of the primary plugin's rewriting; the test has ten seconds of it. */
async function measureRewriting(): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-rewritten-'));
  try {
    await using watch = watching(join(folder, 'node'));
    const seen = await rewritten(join(watch.netDir, '10-a.conflist'), 60);
    process.stdout.write(
      `conflist rewritten ${seen.writes} times in 60 s, looked at ${seen.looks} times: longest without our entry ` +
        `${seen.longestLostMs} ms, harmed ${seen.corrupted.length} times, writes of the primary lost ${seen.lostWrites}, ` +
        `seen a moment late ${seen.stale}\n\n`,
    );
    return seen.longestLostMs < 1000 && seen.corrupted.length === 0 && seen.lostWrites === 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function runTests(args: readonly string[]): Promise<number> {
  const words = [
    '.ci/test.mjs',
    '--file',
    'src/cni/',
    '--file',
    'test/cni/',
    '--timeout',
    '900',
    '--verbose',
  ];
  const child = spawn(process.execPath, [...words, ...args], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, SHUNT_CNI_SEQUENCES: '2000' },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  const [code]: unknown[] = await once(child, 'exit');
  return typeof code === 'number' ? code : 1;
}

const args = process.argv.slice(2);
await measureAdd();
const isKept = await measureRewriting();
process.exitCode = args.includes('--figures') ? 0 : await runTests(args);
if (!isKept) process.exitCode = 1;
