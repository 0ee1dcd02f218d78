#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { at } from '../place.mjs';
import { filesUnder } from '../setup/stamps.mjs';

/** Where Shunt lies in the image. */
const HOME = 'opt/shunt';
/** Mount points, since the root is read-only where it runs. */
const MOUNT_POINTS = [
  'dev',
  'etc/cni/net.d',
  'etc/shunt',
  'opt/cni/bin',
  'proc',
  'run',
  'sys',
  'tmp',
  'var/lib/kubelet',
];
/** `kubectl exec -- shunt status`, in an image without a shell. */
const COMMAND = `#!/usr/local/bin/node --max-semi-space-size=1\nimport('/${HOME}/dist/main.js');\n`;

/**
 * What the image holds besides Debian's packages, out of a built checkout.
 *
 * @param {string} out directory to make
 */
export function makeRootfs(out) {
  rmSync(out, { recursive: true, force: true });
  for (const path of MOUNT_POINTS) mkdirSync(join(out, path), { recursive: true });
  copy(at('node_modules/node/bin/node'), join(out, 'usr/local/bin/node'));
  strip(join(out, 'usr/local/bin/node'));
  writeFileSync(join(out, 'usr/local/bin/shunt'), COMMAND);
  chmodSync(join(out, 'usr/local/bin/shunt'), 0o755);

  const home = join(out, HOME);
  const { name, version, license } = JSON.parse(readFileSync(at('package.json'), 'utf8'));
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'package.json'), JSON.stringify({ name, version, license, type: 'module' }));
  copy(at('LICENSE'), join(home, 'LICENSE'));
  for (const text of ['LICENSE.GPL-2.0', 'LICENSE.BSD-2-Clause'])
    copy(at('bpf', text), join(home, 'bpf', text));
  for (const file of filesUnder(at('dist'), (path) => /\.(js|bpf\.o)$/.test(path))) {
    if (!file.startsWith(at('dist/image'))) copy(file, join(home, file.slice(at('.').length)));
  }
  for (const program of ['decide', 'shunt-cni']) {
    if (existsSync(at('dist', program))) copy(at('dist', program), join(home, 'dist', program));
  }
  copyKoffi(home);
}

/** Its C++ sources and the builds for other libraries of C stay behind. */
function copyKoffi(home) {
  const packages = join(home, 'node_modules');
  const isCode = (path) => statSync(path).isDirectory() || /\.(c?js|json)$|LICENSE/.test(path);
  cpSync(at('node_modules/koffi'), join(packages, 'koffi'), { recursive: true, filter: isCode });
  const builds = join('@koromix', `koffi-linux-${process.arch}`);
  const filter = (path) => !/\/musl_/.test(path);
  cpSync(at('node_modules', builds), join(packages, builds), { recursive: true, filter });
}

function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

/** Names of functions for a debugger: a seventh of Node. */
function strip(program) {
  for (const tool of ['llvm-strip', 'strip']) {
    if (spawnSync(tool, ['--strip-all', program]).status === 0) return;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [out] = process.argv.slice(2);
  if (out === undefined) {
    process.stderr.write('usage: node .ci/image/rootfs.mjs DIRECTORY\n');
    process.exitCode = 2;
  } else makeRootfs(out);
}
