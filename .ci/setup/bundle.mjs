import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { at, BIN } from '../place.mjs';
import { builder } from './identity.mjs';
import { SetupError } from './progress.mjs';
import { filesUnder, hash } from './stamps.mjs';

// CommonJS packages in an ES module: what they expect to find in scope, in every chunk.
const BANNER = [
  "import { createRequire as __createRequire } from 'node:module';",
  'const require = __createRequire(import.meta.url);',
  'const __filename = import.meta.filename;',
  'const __dirname = import.meta.dirname;',
].join(' ');

const FLAGS = [
  '--bundle',
  '--format=esm',
  '--platform=node',
  '--target=node24',
  '--conditions=source',
  '--external:koffi',
  '--keep-names',
  '--splitting',
  '--entry-names=[name]',
  '--chunk-names=chunk-[name]-[hash]',
  '--log-level=warning',
  `--banner:js=${BANNER}`,
];

// In syntax and modules that Node 14 knows, so that an old Node says what is wrong instead of a SyntaxError.
const LAUNCHER = `#!/usr/bin/env node
// Runs main.js on this Node when it is new enough, and otherwise on the one pinned in node_modules.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const pinned = join(here, '..', 'node_modules', '.bin', 'node');

if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import('./main.js');
} else if (existsSync(pinned) && process.env.SHUNT_PINNED_NODE !== pinned) {
  const child = spawn(pinned, [join(here, 'main.js'), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, SHUNT_PINNED_NODE: pinned },
  });
  // A terminal sends Ctrl-C to both of us; the child decides what it means.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => signal === 'SIGINT' && process.stdin.isTTY || child.kill(signal));
  }
  child.on('error', (error) => {
    console.error('shunt: ' + pinned + ' does not start: ' + error.message);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = signal === null ? code : 128 + constants.signals[signal];
  });
} else {
  console.error('shunt: needs Node >= 24 and this is ' + process.version);
  process.exitCode = 1;
}
`;

/** src/cli/main.ts -> dist/shunt.js (launcher), dist/main.js and a chunk per lazily imported command. */
export const bundleStep = {
  name: 'bundle',
  purposes: ['build', 'demo', 'test'],
  inputs: () => {
    const ours = (name) => /\.(ts|json)$/.test(name) && !name.endsWith('.test.ts');
    const sources = [...filesUnder(at('src'), ours), ...filesUnder(at('native', 'libbpf-ts', 'src'), ours)];
    return hash([...sources, at('package.json'), at('package-lock.json')], [FLAGS, LAUNCHER]);
  },
  async run(progress) {
    const fresh = at('dist', 'bundle.new');
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(at('dist'), { recursive: true });
    const args = ['src/cli/main.ts', ...FLAGS, `--outdir=${fresh}`];
    const { code, tail } = await progress.run('esbuild', `${BIN}/esbuild`, args, builder());
    if (code !== 0)
      throw new SetupError(`src/cli/main.ts does not bundle:\n${tail}`, 'mend it, then run again');

    const files = filesUnder(fresh, () => true);
    for (const stale of filesUnder(at('dist'), (name) => /^[^/]*\.js$/.test(name))) rmSync(stale);
    for (const file of files) renameSync(file, at('dist', basename(file)));
    rmSync(fresh, { recursive: true });
    writeFileSync(at('dist', 'shunt.js'), LAUNCHER);
    chmodSync(at('dist', 'shunt.js'), 0o755);
    progress.say(`esbuild: dist/shunt.js and ${files.length} modules behind it`);
    return [at('dist', 'shunt.js'), ...files.map((file) => at('dist', basename(file)))];
  },
};
