import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { at, CACHE, NODE, ROOT } from '../place.mjs';
import { builder } from './identity.mjs';
import { bpfObjects } from './programs.mjs';
import { SetupError } from './progress.mjs';
import { filesUnder, hash } from './stamps.mjs';

const GENERATED = at('src', 'datapath', 'ebpf', 'gen');

/** dist/bpf/x.bpf.o -> src/datapath/ebpf/gen/x.ts; committed, so `npm test` compares and does not write. */
export const codecsStep = {
  name: 'codecs',
  purposes: ['build', 'demo', 'bench'],
  inputs: () => {
    const generator = filesUnder(at('native', 'libbpf-ts', 'src'), (name) => !name.endsWith('.test.ts'));
    return hash([...bpfObjects().map(({ object }) => object), ...generator]);
  },
  async run(progress) {
    const folder = join(CACHE, 'gen.new');
    const fresh = generate(folder, builder());
    mkdirSync(GENERATED, { recursive: true });
    const wanted = fresh.map((file) => join(GENERATED, basename(file)));
    for (const [index, file] of fresh.entries()) {
      if (sameContent(file, wanted[index])) continue;
      renameSync(file, wanted[index]);
      progress.say(`codecs: ${shown(wanted[index])} is new; commit it`);
    }
    rmSync(folder, { recursive: true });
    for (const stale of filesUnder(GENERATED, (name) => name.endsWith('.ts'))) {
      if (!wanted.includes(stale)) rmSync(stale);
    }
    return wanted;
  },
};

/**
 * Writes the codecs of every object in dist/bpf.
 *
 * @param {string} folder made anew
 * @param {object} [identity] spawn options: who runs the generator
 * @returns {string[]} the files written
 */
function generate(folder, identity = {}) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  if (identity.uid !== undefined) chownSync(folder, identity.uid, identity.gid);
  return bpfObjects().map(({ object }) => {
    const file = join(folder, basename(object).replace(/\.bpf\.o$/, '.ts'));
    const args = ['--conditions=source', 'native/libbpf-ts/src/cli.ts', 'gen', object, '-o', file];
    const made = spawnSync(NODE, args, { cwd: ROOT, encoding: 'utf8', ...identity });
    if (made.status !== 0) {
      const why = made.error?.message ?? `${made.stdout}${made.stderr}`.trim();
      throw new SetupError(`no codecs for ${shown(object)}:\n${why}`, 'mend it, then run again');
    }
    return file;
  });
}

/**
 * @param {string} folder for the freshly written ones; made and removed
 * @returns {string[]} what is wrong with the committed codecs
 */
export function staleCodecs(folder) {
  const fresh = generate(folder);
  const stale = fresh.filter((file) => !sameContent(file, join(GENERATED, basename(file))));
  const names = fresh.map((file) => basename(file));
  const orphans = filesUnder(GENERATED, (name) => name.endsWith('.ts') && !names.includes(name));
  rmSync(folder, { recursive: true });
  return [
    ...stale.map((file) => `${shown(join(GENERATED, basename(file)))}: not what bpf/ says; npm run generate`),
    ...orphans.map((file) => `${shown(file)}: there is no such program any more; npm run generate`),
  ];
}

function sameContent(a, b) {
  return existsSync(b) && readFileSync(a).equals(readFileSync(b));
}

function shown(file) {
  return file.slice(ROOT.length + 1);
}
