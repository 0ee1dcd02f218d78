import { mkdirSync, renameSync, rmSync } from 'node:fs';
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
  '--chunk-names=[name]-[hash]',
  '--log-level=warning',
  `--banner:js=${BANNER}`,
];

/** src/cli/main.ts -> dist/main.js, which src/cli/launch.js starts, and a chunk per lazily imported command. */
export const bundleStep = {
  name: 'bundle',
  purposes: [
    'build',
    'demo',
    'test',
    'vm',
    'test:matrix',
    'test:cni',
    'test:chart',
    'image',
    'test:image',
    'test:node',
    'test:cluster',
  ],
  inputs: () => {
    const ours = (name) => /\.(ts|json)$/.test(name) && !name.endsWith('.test.ts');
    const sources = [...filesUnder(at('src'), ours), ...filesUnder(at('native', 'libbpf-ts', 'src'), ours)];
    return hash([...sources, at('package.json'), at('package-lock.json')], [FLAGS]);
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
    progress.say(`esbuild: dist/main.js and ${files.length - 1} modules that it loads when needed`);
    return files.map((file) => at('dist', basename(file)));
  },
};
