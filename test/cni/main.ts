/**
 * `npm run test:cni`: what an ADD costs, how long a chain that is rewritten lacks us, then every test of CNI at full length, containerd's and cnitool's among them.
 * With `-- --figures` no tests.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AS_IN_IMAGE } from '../../bench/node_bed.ts';
import { inPath } from '../../src/lab/checkout.ts';
import { run, toolMissing } from '../../src/lab/command.ts';
import { median, percentile } from '../../src/lab/statistics.ts';
import { TimedExec } from '../../src/lab/timed_exec.ts';
import { CniBed } from './bed.ts';
import { netconf, PLUGIN, podArgs } from './plugin.ts';
import { rewritten, watching } from './watched.ts';

const PODS = 100;
const ROUNDS = 3;
/** Between pods, some twenty a second; back to back an ADD competes with the loading that earlier ones brought on. */
const PACE_MS = 40;
const ROOT = join(import.meta.dirname, '../..');

async function measureAdd(): Promise<void> {
  await using bed = await CniBed.open('cnicost', []);
  bed.cli = AS_IN_IMAGE;
  await using timed = await TimedExec.start(bed.folder);
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
    const nothing = inPath('true') ?? toolMissing('true');
    const times = { none: [] as number[], alone: [] as number[], add: [] as number[], again: [] as number[] };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const name of names) {
        const env = {
          CNI_CONTAINERID: `c-${name}`,
          CNI_NETNS: `/run/netns/${netns(name)}`,
          CNI_IFNAME: 'eth0',
          CNI_ARGS: podArgs('default', name, `uid-${name}`),
        };
        const call = (command: string) => timed.run(PLUGIN, { CNI_COMMAND: command, ...env }, config);
        await delay(PACE_MS);
        const none = await timed.run(nothing);
        const alone = await call('VERSION');
        const add = await call('ADD');
        const again = await call('ADD');
        await call('DEL');
        // The first round warms up.
        if (round === 0) continue;
        times.none.push(none);
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
      ['exec of true', times.none],
      ['plugin alone (VERSION)', times.alone],
      ['ADD, pod is enrolled', times.add],
      ['ADD again, nothing to do', times.again],
      ['ADD as the agent counts it, both', tookMs.slice(2 * PODS)],
    ];
    process.stdout.write(
      `ADD with a warm agent, run as in the image, that knows ${PODS} pods, ms (load ${loadavg()[0]?.toFixed(1)}):\n`,
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
