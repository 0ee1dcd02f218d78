import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { at } from '../place.mjs';
import { asRoot, assertCanBeRoot } from './identity.mjs';
import { PACKAGES, SINCE, USES } from './packages.mjs';
import { SetupError } from './progress.mjs';

// An optional package that this release lacks is not asked for again within a day.
const RETRY_MS = 24 * 3600_000;

/**
 * Refuses a machine that set-up does not know, with what to install by hand.
 *
 * @param {string} purpose
 */
export function assertKnownMachine(purpose) {
  const names = wantedFor(purpose).map((wanted) => wanted.name);
  const byHand = [
    'Install by hand what these Debian packages hold, then run again with SHUNT_SETUP_SKIP_APT=1:',
    `  ${names.join(' ')}`,
  ].join('\n');
  if (process.platform !== 'linux') {
    throw new SetupError(
      `Shunt is made of Linux eBPF; this is ${process.platform}`,
      'use a Linux machine or a VM',
    );
  }
  if (!['x64', 'arm64'].includes(process.arch)) {
    throw new SetupError(`there is no pinned Node for ${process.arch}`, 'use an x86-64 or arm64 machine');
  }
  if (skipsApt()) return;
  const release = osRelease();
  const family = `${release.ID ?? ''} ${release.ID_LIKE ?? ''}`.split(' ');
  if (!family.includes('debian') && !family.includes('ubuntu')) {
    throw new SetupError(
      `set-up knows Debian and Ubuntu; this is ${release.PRETTY_NAME ?? 'neither'}`,
      byHand,
    );
  }
}

/**
 * Installs the missing packages of a purpose.
 *
 * @param {string} purpose
 * @param {import('./progress.mjs').Progress} progress
 * @param {import('./stamps.mjs').Stamps} stamps
 */
export async function installPackages(purpose, progress, stamps) {
  if (skipsApt()) return;
  const missing = missingOf(wantedFor(purpose));
  const refused = missing.filter(({ name }) => stamps.failedSince(name, RETRY_MS) !== undefined);
  const asked = missing.filter((wanted) => !refused.includes(wanted));
  if (asked.length > 0) {
    progress.say(`apt: missing here: ${asked.map((wanted) => wanted.name).join(' ')}`);
    assertCanBeRoot(`Installing ${asked.map((wanted) => wanted.name).join(' ')}`);
    refused.push(...(await install(asked, progress)));
  }
  for (const { name, without } of refused) {
    progress.lacks(`apt package ${name}`, without);
    if (asked.some((wanted) => wanted.name === name)) stamps.recordFailure(name);
  }
}

/** @returns {Promise<object[]>} the optional ones that could not be had */
async function install(asked, progress) {
  const offered = (wanted) => [wanted.name, wanted.instead].find((name) => name && hasCandidate(name));
  let updated = false;
  if (!asked.every(offered)) {
    await update(progress);
    updated = true;
  }
  const take = (wanted) => wanted.filter(offered).map(offered);
  const needed = asked.filter((wanted) => wanted.without === undefined);
  const optional = asked.filter((wanted) => wanted.without !== undefined);
  const unknown = needed.filter((wanted) => !offered(wanted)).map((wanted) => wanted.name);
  if (unknown.length > 0) {
    const why = unknown.map((name) => SINCE[name]).filter(Boolean);
    throw new SetupError(
      `apt offers no ${unknown.join(', no ')} here${why.length > 0 ? `; ${why.join('; ')}` : ''}`,
      'check the apt sources and the network (apt-get update), or use a newer release',
    );
  }
  let outcome = await aptInstall([...take(needed), ...take(optional)], progress);
  if (outcome.code !== 0 && !updated) {
    // Package lists older than the mirror name files that are gone.
    await update(progress);
    outcome = await aptInstall([...take(needed), ...take(optional)], progress);
  }
  if (outcome.code !== 0 && missingOf(needed).length > 0 && optional.length > 0) {
    outcome = await aptInstall(take(needed), progress);
  }
  const stillMissing = missingOf(asked);
  const stopping = stillMissing.filter((wanted) => wanted.without === undefined).map((wanted) => wanted.name);
  if (stopping.length > 0) {
    throw new SetupError(
      `apt-get could not install ${stopping.join(' ')}\n${outcome.tail}`,
      `sudo apt-get install ${stopping.join(' ')}`,
    );
  }
  return stillMissing;
}

async function update(progress) {
  progress.say('apt: fetching the package lists');
  const [command, args] = asRoot('apt-get', ['-o', 'DPkg::Lock::Timeout=180', 'update']);
  const { code, tail } = await progress.run('apt-get update', command, args);
  // Not fatal: the old lists may do, and when they do not, the install says so.
  if (code !== 0) progress.say(`apt: the package lists could not be fetched: ${tail.split('\n').at(-1)}`);
}

async function aptInstall(names, progress) {
  if (names.length === 0) return { code: 0, tail: '' };
  progress.say(`apt: installing ${names.join(' ')}`);
  const [command, args] = asRoot('sh', [at('.ci', 'setup', 'apt-install.sh'), ...names]);
  const outcome = await progress.run('apt-get install', command, args);
  if (outcome.code === 0) progress.say(`apt: installed ${names.length} packages`);
  return outcome;
}

function wantedFor(purpose) {
  return PACKAGES.filter((wanted) => USES[purpose].includes(wanted.use));
}

function missingOf(wanted) {
  const names = wanted.flatMap(({ name, instead }) => (instead ? [name, instead] : [name]));
  if (names.length === 0) return [];
  // biome-ignore lint/suspicious/noTemplateCurlyInString: these are dpkg-query's own placeholders
  const format = '-f=${Package} ${db:Status-Abbrev}\n';
  const found = spawnSync('dpkg-query', ['-W', format, ...names], { encoding: 'utf8' });
  if (found.error) throw new SetupError('dpkg-query does not run', 'set-up needs a working dpkg and apt');
  const installed = new Set();
  for (const line of found.stdout.split('\n')) {
    const [name, status] = line.split(' ');
    if (status?.[1] === 'i') installed.add(name);
  }
  return wanted.filter(({ name, instead }) => !installed.has(name) && !installed.has(instead));
}

function hasCandidate(name) {
  const env = { ...process.env, LC_ALL: 'C' };
  const policy = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8', env }).stdout ?? '';
  return /Candidate: (?!\(none\))/.test(policy);
}

function skipsApt() {
  return process.env.SHUNT_SETUP_SKIP_APT === '1';
}

function osRelease() {
  const file = '/etc/os-release';
  if (!existsSync(file)) return {};
  const lines = readFileSync(file, 'utf8').matchAll(/^([A-Z_]+)="?(.*?)"?$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name, value]));
}
