import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { at, CACHE } from '../place.mjs';
import { builder } from './identity.mjs';
import { SetupError } from './progress.mjs';
import { hash } from './stamps.mjs';

const MODULE = at('test', 'kube', 'cluster');
const [, VERSION] = readFileSync(join(MODULE, 'go.mod'), 'utf8').match(/k8s\.io\/kubernetes (v\S+)/);
const [, MAJOR, MINOR] = VERSION.match(/^v(\d+)\.(\d+)\./);
// A cold build takes 10 minutes on two idle cores, and several times that on busy ones.
const TIMEOUT_MS = 3 * 3_600_000;
const STAMPS = { gitVersion: VERSION, gitMajor: MAJOR, gitMinor: MINOR };
const X = Object.entries(STAMPS).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
const program = (name) => ({
  name,
  package: `k8s.io/kubernetes/cmd/${name}`,
  ldflags: ['-s -w', ...X].join(' '),
});
const API_SERVER = [
  { name: 'etcd', package: 'go.etcd.io/etcd/server/v3', ldflags: '-s -w' },
  program('kube-apiserver'),
];
const NODE = ['kube-controller-manager', 'kube-scheduler', 'kubelet'].map(program);

/**
 * Programs of Kubernetes at .cache/kube/<version>/, built from their Go modules as test/kube/cluster pins them; nobody
 * offers them as packages.
 *
 * @param {string} name
 * @param {string[]} purposes
 * @param {typeof API_SERVER} programs
 * @returns {import('../setup.mjs').Step}
 */
function step(name, purposes, programs) {
  return {
    name,
    purposes,
    inputs: () => hash([join(MODULE, 'go.mod'), join(MODULE, 'go.sum')], [programs]),
    async run(progress) {
      const go = await findGo(progress);
      const folder = join(CACHE, 'kube', VERSION);
      removeOthers();
      mkdirSync(folder, { recursive: true });
      chmodSync(folder, 0o777); // go runs as the builder
      const names = programs.map((each) => each.name).join(', ');
      progress.say(`Kubernetes ${VERSION}: building ${names} from their modules; the first time takes long`);
      for (const each of programs) await build(progress, go, folder, each);
      chmodSync(folder, 0o755);
      progress.say(`Kubernetes ${VERSION}: ready`);
      return programs.map((each) => join(folder, each.name));
    },
  };
}

/** Those of another version. */
function removeOthers() {
  const folder = join(CACHE, 'kube');
  if (!existsSync(folder)) return;
  for (const version of readdirSync(folder).filter((entry) => entry !== VERSION)) {
    rmSync(join(folder, version), { recursive: true });
  }
}

async function build(progress, go, folder, { name, package: path, ldflags }) {
  const fresh = join(folder, `${name}.new`);
  const args = ['build', '-mod=readonly', '-buildvcs=false', '-trimpath', '-p=2'];
  const { code, tail } = await progress.run(
    name,
    'nice',
    ['-n', '19', go, ...args, `-ldflags=${ldflags}`, '-o', fresh, path],
    { ...builder(), cwd: MODULE, timeoutMs: TIMEOUT_MS, env: { ...builder().env, CGO_ENABLED: '0' } },
  );
  if (code !== 0) {
    throw new SetupError(
      `${name} does not build:\n${tail}`,
      'check that the Go module proxy can be reached and 8 GB of disk are free, then run it again: what was built is kept',
    );
  }
  renameSync(fresh, join(folder, name));
}

export const kubeStep = step('kube-apiserver', ['test:kube', 'test:node', 'test:cluster'], API_SERVER);
export const kubeNodeStep = step('kubelet', ['test:cluster'], NODE);

async function findGo(progress) {
  for (const go of ['go', '/usr/local/go/bin/go', '/usr/lib/go/bin/go']) {
    if (go.startsWith('/') && !existsSync(go)) continue;
    const { code, output } = await progress.run('go', go, ['version'], { ...builder(), cwd: MODULE });
    if (code === 0) {
      progress.say(`Go: ${output.trim()}`);
      return go;
    }
  }
  const [, wanted] = readFileSync(join(MODULE, 'go.mod'), 'utf8').match(/^go (\S+)$/m);
  throw new SetupError(
    'there is no Go to build kube-apiserver with',
    `install Go ${wanted} or newer (or any since 1.21 that may fetch it: GOTOOLCHAIN=auto), then run it again`,
  );
}
