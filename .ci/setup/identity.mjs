import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync } from 'node:fs';
import { delimiter } from 'node:path';
import { at, BIN, CACHE, ROOT } from '../place.mjs';
import { SetupError } from './progress.mjs';

// Debian's users have no sbin in PATH, and iptables, tc and bpftool live there.
const SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
// What sudo would drop and our programs heed.
const KEPT = /^(SHUNT_|NO_COLOR$|FORCE_COLOR$|CI$|COLUMNS$|NODE_EXTRA_CA_CERTS$)/;

const isRoot = process.getuid() === 0;

/** PATH for everything of ours: the pinned Node first, the system's administration tools last. */
export function pathWithPinnedNode() {
  const rest = systemPath().split(delimiter);
  return [BIN, ...rest, ...SBIN.filter((folder) => !rest.includes(folder))].join(delimiter);
}

/** PATH without any node_modules/.bin: `npm ci` removes the Node that it would otherwise run on. */
export function systemPath() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.filter((folder) => folder !== '' && !folder.includes('node_modules')).join(delimiter);
}

/**
 * Who writes into the checkout: whoever started us, or, under sudo, the user who typed sudo if the checkout is
 * theirs. A root-owned node_modules would be in that user's way ever after.
 *
 * @returns {{uid?: number, gid?: number, env: object}} options for spawn
 */
export function builder() {
  const env = { ...process.env, PATH: systemPath() };
  const uid = Number(process.env.SUDO_UID ?? 0);
  if (!isRoot || uid === 0 || lstatSync(ROOT).uid !== uid) return { env };
  const gid = Number(process.env.SUDO_GID);
  for (const name of Object.keys(env)) if (name.startsWith('npm_')) delete env[name];
  const home = homeOf(uid);
  return {
    uid,
    gid,
    env: { ...env, HOME: home, USER: process.env.SUDO_USER, LOGNAME: process.env.SUDO_USER },
  };
}

function homeOf(uid) {
  const found = spawnSync('getent', ['passwd', String(uid)], { encoding: 'utf8' });
  return found.stdout?.split(':')[5] || CACHE;
}

/** Gives what an earlier run as root left in the checkout back to the builder. */
export function reclaim() {
  mkdirSync(CACHE, { recursive: true });
  const { uid, gid } = builder();
  if (uid === undefined) {
    assertWritable();
    return;
  }
  const ours = [
    '.cache',
    'dist',
    'node_modules',
    'native/libbpf-ts/dist',
    'native/libbpf-ts/build',
    'src/datapath/ebpf/gen',
  ];
  const present = ours.map((name) => at(name)).filter((path) => lstatSync(path, { throwIfNoEntry: false }));
  const foreign = present.filter((path) => hasForeign(path, uid));
  if (foreign.length > 0)
    execFileSync('chown', ['--recursive', '--no-dereference', `${uid}:${gid}`, ...foreign]);
}

function assertWritable() {
  if (isRoot) return;
  const uid = process.getuid();
  for (const name of ['.', '.cache', 'dist', 'node_modules']) {
    const entry = lstatSync(at(name), { throwIfNoEntry: false });
    if (entry && entry.uid !== uid && (entry.mode & 0o002) === 0) {
      throw new SetupError(
        `${name === '.' ? 'the checkout' : name} belongs to another user (uid ${entry.uid})`,
        `sudo chown -R ${uid} ${at(name)}`,
      );
    }
  }
}

// The folder itself and what lies directly in it: deep enough to notice a run as root, cheap enough for each run.
function hasForeign(path, uid) {
  const found = spawnSync('find', [path, '-maxdepth', '1', '!', '-uid', String(uid), '-print', '-quit']);
  return found.stdout.length > 0;
}

/**
 * Asks for the password, if one is needed, before minutes of work rather than after.
 *
 * @param {string} what needs root
 * @throws {SetupError} when root cannot be had
 */
export function assertCanBeRoot(what) {
  if (isRoot) return;
  const byHand = 'become root first (su -), or install sudo and allow yourself to use it';
  const quiet = spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' });
  if (quiet.error) throw new SetupError(`${what} needs root, and there is no sudo on this machine`, byHand);
  if (quiet.status === 0) return;
  if (!process.stdin.isTTY) {
    throw new SetupError(`${what} needs root, and sudo wants a password that nobody can type here`, byHand);
  }
  process.stderr.write(`${what} needs root; sudo asks for your password.\n`);
  if (spawnSync('sudo', ['-v'], { stdio: 'inherit' }).status !== 0) {
    throw new SetupError(`${what} needs root, and sudo did not let you`, byHand);
  }
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {Record<string, string>} [env] set for the command, under sudo too
 * @returns {[string, string[]]} what to spawn so that it runs as root
 */
export function asRoot(command, args, env = {}) {
  const kept = Object.entries(process.env).filter(([name]) => KEPT.test(name));
  const settings = Object.entries({ ...Object.fromEntries(kept), ...env }).map(([k, v]) => `${k}=${v}`);
  const plain = ['env', ...settings, command, ...args];
  return isRoot ? [plain[0], plain.slice(1)] : ['sudo', ['--', ...plain]];
}
