#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkImports } from './check-imports.mjs';
import { checkLinks } from './check-links.mjs';
import { checkLauncher, checkManifests, checkPackageFiles } from './check-package.mjs';
import { at, BIN, NODE, ROOT } from './place.mjs';
import { staleCodecs } from './setup/codecs.mjs';

/**
 * What can be told without running anything of ours. Each gives its faults, one a line; `npm test` counts each as a
 * test.
 */
export const CHECKS = [
  {
    name: 'types hold (tsc)',
    faults: () => tool(NODE, [at('node_modules/typescript/bin/tsc'), '-p', '.', '--pretty', 'false']),
  },
  {
    name: 'format and lint rules hold (biome)',
    faults: () =>
      tool(join(BIN, 'biome'), ['check', '--error-on-warnings', '--max-diagnostics=10', '--colors=off']),
  },
  { name: 'imports run one way', faults: checkImports },
  { name: 'generated codecs are what bpf/ says', faults: codecFaults },
  {
    name: 'manifests are what the chart gives',
    faults: () => tool(NODE, [at('daemonset/render/main.ts'), '--check']),
  },
  { name: 'links in the documentation lead somewhere', faults: checkLinks },
  { name: 'versions are pinned and licences named', faults: checkManifests },
  { name: 'packages ship what they need and nothing else', faults: checkPackageFiles },
  { name: 'src/cli/launch.js runs on any Node', faults: checkLauncher },
];

function tool(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  if (error) return [error.message];
  return status === 0 ? [] : `${stdout}${stderr}`.trim().split('\n');
}

function attempt(faults) {
  try {
    return faults();
  } catch (error) {
    return error.message.split('\n');
  }
}

function codecFaults() {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-codecs-'));
  try {
    return staleCodecs(join(folder, 'gen'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Runs every check, in order.
 *
 * @param {(name: string, faults: string[], ms: number) => void} tell
 */
export function runChecks(tell) {
  for (const { name, faults } of CHECKS) {
    const startedAt = performance.now();
    const found = attempt(faults);
    tell(name, found, performance.now() - startedAt);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  runChecks((name, faults, ms) => {
    const outcome = faults.length === 0 ? 'ok  ' : 'FAIL';
    process.stdout.write(`${outcome} ${name} (${(ms / 1000).toFixed(1)} s)\n`);
    for (const fault of faults) process.stdout.write(`       ${fault}\n`);
    if (faults.length > 0) process.exitCode = 1;
  });
}
