import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { at, NODE } from '../place.mjs';
import { builder } from './identity.mjs';
import { SetupError } from './progress.mjs';

// The packages whose install scripts matter: they fetch or check a binary.
const SCRIPTED = ['node', 'koffi', 'esbuild'];

/**
 * Makes node_modules what package-lock.json says, with a working pinned Node in it.
 *
 * @param {import('./progress.mjs').Progress} progress
 */
export async function installNodeModules(progress) {
  if (!matchesLock()) {
    progress.say(
      'npm: installing the packages of package-lock.json (some 200 MB, most of it the pinned Node)',
    );
    const { code, tail } = await progress.run(
      'npm ci',
      'npm',
      ['ci', '--no-audit', '--no-fund', '--loglevel=error'],
      builder(),
    );
    if (code === 127) throw new SetupError('there is no npm in PATH', 'install Node >= 20 together with npm');
    if (code !== 0) {
      throw new SetupError(`npm ci failed:\n${tail}`, 'check that the package registry can be reached');
    }
    progress.say('npm: installed');
  }
  const wanted = `v${JSON.parse(readFileSync(at('package.json'), 'utf8')).devDependencies.node}`;
  if (pinnedNode() === wanted) return;

  progress.say(`npm: the pinned Node ${wanted} is not there (install scripts are off?); running them`);
  const rebuild = ['rebuild', '--ignore-scripts=false', ...SCRIPTED];
  const { tail } = await progress.run('npm rebuild', 'npm', rebuild, builder());
  const found = pinnedNode();
  if (found !== wanted) {
    throw new SetupError(
      `node_modules/.bin/node should be ${wanted} and is ${found ?? 'not runnable'}\n${tail}`,
      `allow install scripts for ${SCRIPTED.join(', ')} (npm config get ignore-scripts), then: npm ${rebuild.join(' ')}`,
    );
  }
}

/** npm writes what it installed to node_modules/.package-lock.json; times say nothing after a clone. */
function matchesLock() {
  const hidden = at('node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const wanted = packagesOf(at('package-lock.json'));
  const installed = packagesOf(hidden);
  const same = (a, b) => a.version === b.version && a.integrity === b.integrity;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const there = installed[path];
    if (there === undefined ? !entry.optional : !same(entry, there)) return false;
    if (there !== undefined && !existsSync(at(path))) return false;
  }
  return Object.keys(installed).every((path) => path in wanted);
}

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
  } catch (error) {
    if (error instanceof SyntaxError) return {}; // cut short by a crash: npm ci writes it anew
    throw error;
  }
}

function pinnedNode() {
  const { status, stdout } = spawnSync(NODE, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}
