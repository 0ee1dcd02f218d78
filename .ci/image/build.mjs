#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { at, CACHE } from '../place.mjs';
import { SetupError } from '../setup/progress.mjs';
import { tellFailure } from '../setup.mjs';
import { makeRootfs } from './rootfs.mjs';

/*
 * `npm run image`: daemonset/Containerfile built without a registry and without a daemon. The stages that would pull
 * from one are replaced: Debian's packages come through mmdebstrap, the program out of this checkout.
 */
const CONTAINERFILE = at('daemonset', 'Containerfile');
const FOLDER = join(CACHE, 'image');
const SUITE = 'bookworm';
/** A base image has these already. */
const OF_THE_BASE = ['base-files', 'libatomic1', 'libgcc-s1', 'libstdc++6'];
// What base-files does once it is installed; runtimes name sandboxes by /var/run/netns.
const LINK_VAR_RUN = 'rm -rf "$1/var/run" && ln -s /run "$1/var/run"';
const STORAGE = [
  '--root',
  join(FOLDER, 'storage'),
  '--runroot',
  join(FOLDER, 'run'),
  '--storage-driver',
  'vfs',
];
const NEEDED = ['buildah', 'mmdebstrap'];
const STEP_MS = 240_000;

/**
 * @returns {string} path of the OCI archive
 * @throws {SetupError}
 */
export function buildImage() {
  const { version } = JSON.parse(readFileSync(at('package.json'), 'utf8'));
  for (const tool of NEEDED) {
    if (spawnSync(tool, ['--version']).error) {
      throw new SetupError(`there is no ${tool}`, `apt-get install ${NEEDED.join(' ')}`);
    }
  }
  const startedAt = performance.now();
  const context = join(FOLDER, 'context');
  mkdirSync(join(FOLDER, 'empty'), { recursive: true });
  try {
    const base = debianBase(packagesOfContainerfile());
    makeRootfs(join(context, 'out'));
    say(`the program: ${megabytes(sizeUnder(join(context, 'out')))}`);
    image('runtime', join(FOLDER, 'base'), `FROM scratch\nADD ${basename(base)} /\n`);
    image('out', context, 'FROM scratch\nCOPY out /out\n');
    const name = `shunt:${version}`;
    const given = ['OUT=localhost/shunt-out', 'RUNTIME=localhost/shunt-runtime', `VERSION=${version}`];
    const args = given.flatMap((argument) => ['--build-arg', argument]);
    buildah('bud', [...args, '--target', 'image', '-f', CONTAINERFILE, '-t', name, join(FOLDER, 'empty')]);
    const archive = at('dist', 'image', `shunt-${version}.tar`);
    mkdirSync(at('dist', 'image'), { recursive: true });
    rmSync(archive, { force: true });
    buildah('push', [name, `oci-archive:${archive}:${name}`]);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
    say(`dist/image/${basename(archive)}: ${megabytes(statSync(archive).size)} compressed, in ${seconds} s`);
    return archive;
  } finally {
    for (const left of ['storage', 'run', 'context'])
      rmSync(join(FOLDER, left), { recursive: true, force: true });
  }
}

/** The one list of Debian packages is in the Containerfile. */
function packagesOfContainerfile() {
  const [, list] = readFileSync(CONTAINERFILE, 'utf8').match(/^ARG PACKAGES="([^"]+)"$/m) ?? [];
  if (list === undefined) throw new SetupError(`${CONTAINERFILE} has no ARG PACKAGES="..."`, 'put it back');
  return list.split(' ');
}

/** Debian unpacked, and nothing of it run: kept, since it does not depend on the checkout. */
function debianBase(packages) {
  const wanted = [...OF_THE_BASE, ...packages].sort();
  const key = createHash('sha256')
    .update(`${SUITE} ${wanted.join(' ')} ${LINK_VAR_RUN}`)
    .digest('hex')
    .slice(0, 12);
  const folder = join(FOLDER, 'base');
  const tar = join(folder, `${SUITE}-${key}.tar`);
  if (existsSync(tar)) return tar;
  mkdirSync(folder, { recursive: true });
  for (const old of readdirSync(folder)) rmSync(join(folder, old));
  say(`mmdebstrap: Debian ${SUITE}`);
  const leaveOut = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/info'];
  tool('mmdebstrap', [
    ...['--quiet', '--variant=extract', `--include=${wanted.join(',')}`],
    ...leaveOut.map((path) => `--dpkgopt=path-exclude=/${path}/*`),
    ...['--dpkgopt=path-include=/usr/share/doc/*/copyright', `--extract-hook=${LINK_VAR_RUN}`],
    ...[SUITE, `${tar}.new`, '--format=tar'],
  ]);
  renameSync(`${tar}.new`, tar);
  say(`mmdebstrap: ${megabytes(statSync(tar).size)}`);
  return tar;
}

function image(name, context, containerfile) {
  const file = join(FOLDER, `Containerfile.${name}`);
  writeFileSync(file, containerfile);
  buildah('bud', ['-f', file, '-t', `localhost/shunt-${name}`, context]);
}

function buildah(command, args) {
  const isolation = command === 'bud' ? ['--isolation', 'chroot', '--layers=false', '--pull-never'] : [];
  tool('buildah', [...STORAGE, command, ...isolation, ...args]);
}

function tool(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: STEP_MS,
    cwd: FOLDER,
  });
  if (status === 0) return;
  const said = error?.message ?? `${stdout}${stderr}`.trim().split('\n').slice(-12).join('\n');
  throw new SetupError(`${command} failed: ${said}`, 'see what it says; .cache/image may be deleted');
}

function sizeUnder(folder) {
  const { stdout } = spawnSync('du', ['--summarize', '--bytes', folder], { encoding: 'utf8' });
  return Number(stdout.split('\t')[0]);
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function say(line) {
  process.stdout.write(`image    ${line}\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    buildImage();
  } catch (error) {
    tellFailure(error);
  }
}
