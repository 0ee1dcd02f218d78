import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { CACHE } from '../place.mjs';
import { builder, systemPath } from './identity.mjs';
import { hash } from './stamps.mjs';

/** Where the tests look for them. */
export const CNI_TOOLS = join(CACHE, 'cni', 'bin');
// Debian has no cnitool, and its plugins know CNI 1.0, which has neither GC nor STATUS.
const PACKAGES = [
  { name: 'cnitool', module: 'github.com/containernetworking/cni/cnitool@v1.3.0' },
  { name: 'bridge', module: 'github.com/containernetworking/plugins/plugins/main/bridge@v1.7.1' },
  { name: 'host-local', module: 'github.com/containernetworking/plugins/plugins/ipam/host-local@v1.7.1' },
];
/** Of the modules above. */
const GO = { major: 1, minor: 23 };

/** cnitool and two plugins of CNI 1.1, from their Go modules -> .cache/cni/bin */
export const cniToolsStep = {
  name: 'CNI tools',
  purposes: ['test:cni'],
  inputs: () => hash([], PACKAGES),
  async run(progress) {
    const go = findGo();
    if (go === null) {
      progress.lacks(
        `Go ${GO.major}.${GO.minor}, which builds cnitool`,
        'CHECK, GC and STATUS run without cnitool',
      );
      return undefined;
    }
    mkdirSync(CNI_TOOLS, { recursive: true });
    const env = { ...builder().env, GOBIN: CNI_TOOLS, GOFLAGS: '-mod=mod', CGO_ENABLED: '0' };
    for (const { name, module } of PACKAGES) {
      const { code } = await progress.run(`go install ${name}`, go, ['install', module], {
        ...builder(),
        env,
      });
      if (code !== 0) {
        progress.lacks(`the Go module of ${name}`, 'CHECK, GC and STATUS run without cnitool');
        return undefined;
      }
    }
    progress.say('go: cnitool, bridge and host-local in .cache/cni/bin');
    return PACKAGES.map(({ name }) => join(CNI_TOOLS, name));
  },
};

/** One that is new enough, wherever it usually is. */
function findGo() {
  const folders = [...systemPath().split(delimiter), '/usr/local/go/bin', '/usr/lib/go/bin'];
  for (const go of folders.map((folder) => join(folder, 'go')).filter((file) => existsSync(file))) {
    const said = spawnSync(go, ['version'], { encoding: 'utf8' }).stdout ?? '';
    const [, major, minor] = (/go(\d+)\.(\d+)/.exec(said) ?? []).map(Number);
    if (major > GO.major || (major === GO.major && minor >= GO.minor)) return go;
  }
  return null;
}
