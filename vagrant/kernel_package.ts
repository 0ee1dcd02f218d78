/** Debian's kernels as files: fetched once, unpacked under .cache/vm/, never installed. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../src/errors.ts';
import { Archive, type Mirror, mirrorOf } from './archive.ts';

export const CACHE = join(import.meta.dirname, '..', '.cache', 'vm');

interface Source {
  suites: readonly string[];
  /** Beginning of the release, where a suite has moved on and keeps the builds of a series without its metapackage. */
  series?: string;
}

/** Which suites hold a kernel. `newest` is the highest version of two suites that overtake each other. */
export const KERNELS: Readonly<Record<string, Source>> = {
  '5.10': { suites: ['bullseye', 'bullseye-security'] },
  '6.1': { suites: ['bookworm', 'bookworm-security'] },
  '6.12': { suites: ['trixie', 'trixie-security'] },
  '6.18': { suites: ['trixie-backports'], series: '6.18' },
  sid: { suites: ['sid'] },
  newest: { suites: ['sid', 'trixie-backports'] },
};

/** The smallest build that has what the tests need: veth, bridge, nf_tables, xt_*, virtio-fs, BTF. */
const PACKAGE = 'linux-image-cloud-amd64';
/** Since 7.3 a kernel's files are spread over several packages. */
const PART = /^linux-(image|binary|modules|base)-\d/;

/** A kernel that a guest can boot. */
export interface Kernel {
  /** A key of KERNELS. */
  name: string;
  /** `uname -r`. */
  release: string;
  /** Of Debian's package. */
  version: string;
  image: string;
  /** Directory of modules.dep. */
  modules: string;
  config: string;
}

export interface KernelOptions {
  /** URL of a Debian mirror, instead of the one in the machine's sources. */
  mirror?: string | undefined;
  /** Look for a newer build than the one at hand. */
  update?: boolean;
  tell?: (line: string) => void;
}

/**
 * A kernel, from the cache or from Debian's archive.
 *
 * @throws SHUNT_E_VM_KERNEL for a name that is not in KERNELS; SHUNT_E_VM_PACKAGE when it cannot be had;
 *   SHUNT_E_VM_MACHINE on another architecture
 */
export function kernelOf(
  name: string,
  { mirror, update = false, tell = () => {} }: KernelOptions = {},
): Kernel {
  const source = KERNELS[name];
  if (source === undefined)
    throw new ShuntError('SHUNT_E_VM_KERNEL', 'no suite is known for this kernel', { target: name });
  if (process.arch !== 'x64') throw new ShuntError('SHUNT_E_VM_MACHINE', `this is ${process.arch}`);
  const held = cached(name);
  if (held !== undefined && !update) return held;
  return fetchKernel(name, source, mirrorOf(mirror), tell);
}

function fetchKernel(
  name: string,
  { suites, series }: Source,
  mirror: Mirror,
  tell: (line: string) => void,
): Kernel {
  tell(`kernel ${name}: asking ${suites.join(', ')}`);
  using archive = new Archive(CACHE, mirror, suites);
  const image = series === undefined ? PACKAGE : newestOf(archive, series);
  const [version] = image === undefined ? [] : archive.versionsOf(image);
  if (image === undefined || version === undefined)
    throw new ShuntError('SHUNT_E_VM_PACKAGE', `${suites.join(', ')} have no ${image ?? series}`);
  const folder = join(CACHE, 'kernels', name, version.replace(/[^\w.+~-]/g, '_'));
  if (!existsSync(folder)) {
    const parts = partsOf(archive, image, version, new Set([image]));
    tell(`kernel ${name}: fetching ${version}`);
    archive.unpack(
      parts.map((part) => `${part}=${version}`),
      folder,
    );
  }
  const kernel = inFolder(name, version, folder);
  if (kernel === undefined)
    throw new ShuntError('SHUNT_E_VM_PACKAGE', `${PACKAGE} ${version} holds no kernel`, { target: folder });
  return kernel;
}

/** The image of a series' newest build. */
function newestOf(archive: Archive, series: string): string | undefined {
  const order = new Intl.Collator('en', { numeric: true });
  return archive
    .namesFrom(`linux-image-${series}.`)
    .filter((name) => /^[\w.+-]+\d-cloud-amd64$/.test(name))
    .sort(order.compare)
    .at(-1);
}

/**
 * The packages that one leads to, all of one version.
 *
 * @param seen the one itself; it is given, too, unless it is the metapackage
 */
function partsOf(archive: Archive, name: string, version: string, seen: Set<string>): string[] {
  for (const wanted of archive.dependsOf(name, version)) {
    if (!PART.test(wanted) || seen.has(wanted)) continue;
    // Some stand among alternatives, and no suite has them.
    if (!archive.versionsOf(wanted).includes(version)) continue;
    seen.add(wanted);
    partsOf(archive, wanted, version, seen);
  }
  return [...seen].filter((part) => part !== PACKAGE);
}

/** The build unpacked last. */
function cached(name: string): Kernel | undefined {
  const folder = join(CACHE, 'kernels', name);
  if (!existsSync(folder)) return undefined;
  const builds = readdirSync(folder).map((version) => inFolder(name, version, join(folder, version)));
  const order = new Intl.Collator('en', { numeric: true });
  return builds
    .filter((build) => build !== undefined)
    .sort((a, b) => order.compare(a.version, b.version))
    .at(-1);
}

function inFolder(name: string, version: string, folder: string): Kernel | undefined {
  // With merged /usr since trixie; depmod wants /lib.
  if (!existsSync(join(folder, 'lib')) && existsSync(join(folder, 'usr/lib')))
    symlinkSync('usr/lib', join(folder, 'lib'));
  const all = join(folder, 'lib', 'modules');
  const release = existsSync(all) ? readdirSync(all).at(0) : undefined;
  if (release === undefined) return undefined;
  const modules = join(all, release);
  if (!existsSync(join(modules, 'modules.dep.bin'))) execFileSync('depmod', ['-b', folder, release]);
  const either = (inBoot: string, besideModules: string): string => {
    const file = join(folder, 'boot', `${inBoot}-${release}`);
    return existsSync(file) ? file : join(modules, besideModules);
  };
  return {
    name,
    release,
    version,
    image: either('vmlinuz', 'vmlinuz'),
    modules,
    config: either('config', 'config'),
  };
}
