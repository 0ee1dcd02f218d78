#!/usr/bin/env node
// Runs the bundle on this Node when it is new enough, and otherwise on the one pinned in node_modules. Written in
// what Node 14 understands, so that an old Node gets a sentence and not a SyntaxError.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const bundle = join(root, 'dist', 'main.js');
const pinned = join(root, 'node_modules', '.bin', 'node');

if (!existsSync(bundle)) {
  console.error(`shunt: it is not built yet; in ${root}: npm run build`);
  process.exitCode = 1;
} else if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import('../../dist/main.js');
} else if (existsSync(pinned) && process.env.SHUNT_PINNED_NODE !== pinned) {
  runPinned();
} else {
  console.error(`shunt: needs Node >= 24, and this is ${process.version}; in ${root}: npm run build`);
  process.exitCode = 1;
}

function runPinned() {
  const child = spawn(pinned, [bundle, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, SHUNT_PINNED_NODE: pinned },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to both of us; a second one would mean "at once".
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    console.error(`shunt: ${pinned} does not start: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = signal === null ? code : 128 + constants.signals[signal];
  });
}
