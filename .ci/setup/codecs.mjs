import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { at, CACHE, NODE, ROOT } from '../place.mjs';
import { builder } from './identity.mjs';
import { bpfObjects } from './programs.mjs';
import { SetupError } from './progress.mjs';
import { filesUnder, hash } from './stamps.mjs';

const GENERATED = at('src', 'datapath', 'ebpf', 'gen', 'objects.ts');

/** dist/bpf/*.bpf.o -> src/datapath/ebpf/gen/objects.ts; committed, so `npm test` compares and does not write. */
export const codecsStep = {
  name: 'codecs',
  purposes: ['build', 'demo', 'bench', 'image', 'test:image', 'test:node', 'test:cluster'],
  inputs: () => {
    const generator = filesUnder(at('native', 'libbpf-ts', 'src'), (name) => !name.endsWith('.test.ts'));
    return hash([...bpfObjects().map(({ object }) => object), ...generator]);
  },
  async run(progress) {
    const folder = join(CACHE, 'gen.new');
    const fresh = generate(folder, builder());
    if (!sameContent(fresh, GENERATED)) {
      mkdirSync(dirname(GENERATED), { recursive: true });
      renameSync(fresh, GENERATED);
      progress.say(`codecs: ${shown(GENERATED)} is new; commit it`);
    }
    rmSync(folder, { recursive: true });
    return [GENERATED];
  },
};

/**
 * Writes the codecs of the objects in dist/bpf.
 *
 * @param {string} folder made anew
 * @param {object} [identity] spawn options: who runs the generator
 * @returns {string} the file written
 */
function generate(folder, identity = {}) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  if (identity.uid !== undefined) chownSync(folder, identity.uid, identity.gid);
  const file = join(folder, basename(GENERATED));
  const objects = bpfObjects().map(({ object }) => object);
  const args = ['--conditions=source', 'native/libbpf-ts/src/cli.ts', 'gen', ...objects, '-o', file];
  const made = spawnSync(NODE, args, { cwd: ROOT, encoding: 'utf8', ...identity });
  if (made.status !== 0) {
    const why = made.error?.message ?? `${made.stdout}${made.stderr}`.trim();
    throw new SetupError(`no codecs for the eBPF objects:\n${why}`, 'mend it, then run again');
  }
  return file;
}

/**
 * @param {string} folder for the freshly written ones; made and removed
 * @returns {string[]} what is wrong with the committed codecs
 */
export function staleCodecs(folder) {
  const current = sameContent(generate(folder), GENERATED);
  rmSync(folder, { recursive: true });
  return current ? [] : [`${shown(GENERATED)}: not what bpf/ says; npm run generate`];
}

function sameContent(a, b) {
  return existsSync(b) && readFileSync(a).equals(readFileSync(b));
}

function shown(file) {
  return file.slice(ROOT.length + 1);
}
