import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { at, ROOT } from './place.mjs';
import { pathWithPinnedNode, systemPath } from './setup/identity.mjs';
import { bpfObjects } from './setup/programs.mjs';

/** What `npm pack` would ship must hold these, and nothing of the kinds in UNWANTED. */
const WANTED = {
  '.': [
    'package.json',
    'LICENSE',
    'README.md',
    'src/cli/launch.js',
    'dist/main.js',
    'dist/decide',
    'dist/shunt-cni',
    'bpf/LICENSE.GPL-2.0',
    'bpf/LICENSE.BSD-2-Clause',
  ],
  'native/libbpf-ts': [
    'package.json',
    'LICENSE',
    'README.md',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli.js',
  ],
};
const UNWANTED = /\.test\.|(^|\/)(test|bench|node_modules|\.ci|\.cache)\//;

/** @returns {string[]} what is wrong with the files of the two packages */
export function checkPackageFiles() {
  return Object.entries(WANTED).flatMap(([folder, wanted]) => {
    const objects = folder === '.' ? bpfObjects().map(({ object }) => object.slice(ROOT.length + 1)) : [];
    const shipped = packedFiles(folder);
    const where = folder === '.' ? 'shunt' : folder;
    return [
      ...[...wanted, ...objects]
        .filter((file) => !shipped.includes(file))
        .map((file) => `${where}: ${file} is not shipped`),
      ...shipped.filter((file) => UNWANTED.test(file)).map((file) => `${where}: ${file} is shipped`),
    ];
  });
}

function packedFiles(folder) {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error'];
  const [packed] = JSON.parse(execFileSync('npm', args, { cwd: at(folder), encoding: 'utf8' }));
  return packed.files.map(({ path }) => path);
}

/** @returns {string[]} what is wrong with the licence fields and the lock file */
export function checkManifests() {
  const faults = [];
  for (const file of ['package.json', 'native/libbpf-ts/package.json']) {
    const manifest = JSON.parse(readFileSync(at(file), 'utf8'));
    if (manifest.license !== 'Apache-2.0') faults.push(`${file}: license is ${manifest.license}`);
    for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      // npm would resolve a range for the Node of the machine, which is not the one that runs it.
      if (!/^\d/.test(range)) faults.push(`${file}: ${name} is ${range}; pin an exact version`);
    }
  }
  const lock = JSON.parse(readFileSync(at('package-lock.json'), 'utf8'));
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (/^https?:/.test(entry.resolved ?? ''))
      faults.push(`package-lock.json: ${path} records a download address`);
  }
  return faults;
}

/** @returns {string[]} what is wrong with src/cli/launch.js, on the machine's own Node and on the pinned one */
export function checkLauncher() {
  const { version } = JSON.parse(readFileSync(at('package.json'), 'utf8'));
  return [systemPath(), pathWithPinnedNode()].flatMap((PATH) => {
    const env = { ...process.env, PATH };
    // From elsewhere: nothing may depend on the working directory.
    const { stdout, stderr, error } = spawnSync(at('src/cli/launch.js'), ['--version'], {
      cwd: '/',
      env,
      encoding: 'utf8',
    });
    if (stdout?.trim() === version) return [];
    return [`src/cli/launch.js --version with PATH=${PATH}: ${error?.message ?? (stdout + stderr).trim()}`];
  });
}
