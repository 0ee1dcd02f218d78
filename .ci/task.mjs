#!/usr/bin/env node
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { at, NODE } from './place.mjs';
import { asRoot, assertCanBeRoot, pathWithPinnedNode } from './setup/identity.mjs';
import { setUp, tellFailure } from './setup.mjs';

// What the npm scripts and .ci/run do: set the checkout up for a purpose, then run one program of it on the pinned
// Node. Only that last program (and apt) is root; what is built belongs to whoever owns the checkout.
const TASKS = {
  demo: { purpose: 'demo', root: true, program: ['src/cli/launch.js', 'demo'] },
  test: { purpose: 'test', root: true, program: ['.ci/test.mjs'] },
  'test:unit': { purpose: 'build', root: false, program: ['.ci/test.mjs', 'unit'] },
  'test:e2e': { purpose: 'test', root: true, program: ['.ci/test.mjs', 'e2e'] },
  'test:conformance': {
    purpose: 'test',
    root: true,
    program: ['--conditions=source', 'test/conformance/main.ts'],
  },
  'test:integrity': {
    purpose: 'test',
    root: true,
    program: ['--conditions=source', 'test/integrity/main.ts'],
  },
  'test:runtimes': {
    purpose: 'test:runtimes',
    root: true,
    program: ['--conditions=source', 'test/runtimes/main.ts'],
  },
  'test:faithful': {
    purpose: 'test',
    root: true,
    program: ['--conditions=source', 'test/faithful/main.ts'],
  },
  'test:cni': { purpose: 'test:cni', root: true, program: ['--conditions=source', 'test/cni/main.ts'] },
  'bench:libbpf': {
    purpose: 'bench',
    root: true,
    program: ['--conditions=source', 'native/libbpf-ts/bench/bench.ts'],
  },
  vm: { purpose: 'vm', root: true, program: ['--conditions=source', 'vagrant/main.ts'] },
  'test:matrix': { purpose: 'test:matrix', root: true, program: ['--conditions=source', 'test/vm/main.ts'] },
  'test:kube': { purpose: 'test:kube', root: true, program: ['--conditions=source', 'test/kube/main.ts'] },
  bench: { purpose: 'test', root: true, program: ['--conditions=source', 'bench/main.ts'] },
  'bench:programs': {
    purpose: 'test',
    root: true,
    program: ['--conditions=source', 'bench/programs.ts'],
  },
  'bench:rules': {
    purpose: 'test',
    root: true,
    program: ['--conditions=source', 'bench/rules.ts'],
  },
  check: { purpose: 'build', root: false, program: ['.ci/check.mjs'] },
  manifests: { purpose: 'build', root: false, program: ['daemonset/render/main.ts'] },
  'test:image': { purpose: 'test:image', root: true, program: ['.ci/image/test.mjs', 'test/image'] },
  'test:cluster': {
    purpose: 'test:cluster',
    root: true,
    program: ['.ci/image/test.mjs', 'test/cluster', 'test/cluster/machine.sh'],
  },
  'test:node': { purpose: 'test:node', root: true, program: ['.ci/image/test.mjs', 'test/node'] },
  image: { purpose: 'image', root: true, program: ['.ci/image/build.mjs'] },
  'test:chart': {
    purpose: 'test:chart',
    root: false,
    program: ['.ci/test.mjs', 'unit', '--file=daemonset/'],
  },
  shunt: { purpose: 'build', root: false, program: ['src/cli/launch.js'] },
};

/** Runs a program in the foreground; gives its exit code, 128 + n when signal n ended it. */
async function run(command, args, env) {
  const child = spawn(command, args, { cwd: process.cwd(), stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // Ctrl-C in a terminal has gone to the program as well, which then cleans up; twice would be "at once".
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}

async function main([name, ...args]) {
  const task = TASKS[name];
  if (task === undefined) {
    process.stderr.write(`usage: node .ci/task.mjs ${Object.keys(TASKS).join('|')} [arguments]\n`);
    return 2;
  }
  if (task.root) assertCanBeRoot(`npm run ${name}`);
  await setUp(task.purpose);
  const PATH = pathWithPinnedNode();
  const program = task.program.map((word) => (existsSync(at(word)) ? at(word) : word));
  if (!task.root) return await run(NODE, [...program, ...args], { ...process.env, PATH });
  return await run(...asRoot(NODE, [...program, ...args], { PATH }), process.env);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  tellFailure(error);
  // Whoever counts tests by the closing line finds one, and it says that nothing could be run.
  if (process.argv[2].startsWith('test')) process.stdout.write('\n0 passed, 1 failed\n');
}
