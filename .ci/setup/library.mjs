import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { at, CACHE, NODE } from '../place.mjs';
import { builder } from './identity.mjs';
import { SetupError } from './progress.mjs';
import { filesUnder, hash } from './stamps.mjs';

const PROJECT = at('native', 'libbpf-ts', 'tsconfig.build.json');
const DIST = at('native', 'libbpf-ts', 'dist');

/** native/libbpf-ts as it is published: JavaScript and declarations. @type {import('../setup.mjs').Step} */
export const libraryStep = {
  name: 'libbpf-ts',
  purposes: [
    'build',
    'test',
    'vm',
    'test:matrix',
    'image',
    'test:image',
    'test:node',
    'test:cluster',
    'test:kube',
    'test:runtimes',
  ],
  inputs: () => hash([...filesUnder(at('native', 'libbpf-ts', 'src'), () => true), PROJECT]),
  async run(progress) {
    const fresh = join(CACHE, 'libbpf-ts.new');
    rmSync(fresh, { recursive: true, force: true });
    const args = [at('node_modules', 'typescript', 'bin', 'tsc'), '-p', PROJECT, '--outDir', fresh];
    const { code, tail } = await progress.run('tsc', NODE, args, builder());
    if (code !== 0)
      throw new SetupError(`native/libbpf-ts does not build:\n${tail}`, 'mend it, then run again');
    rmSync(DIST, { recursive: true, force: true });
    renameSync(fresh, DIST);
    progress.say('tsc: native/libbpf-ts/dist');
    return filesUnder(DIST, () => true);
  },
};
