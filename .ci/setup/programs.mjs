import { existsSync, mkdirSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { at, ROOT } from '../place.mjs';
import { builder, systemPath } from './identity.mjs';
import { SetupError } from './progress.mjs';
import { filesUnder, hash } from './stamps.mjs';

// What Debian calls the folder of per-architecture kernel headers (asm/types.h), by process.arch.
const MULTIARCH = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
// The name that bpf_tracing.h wants.
const TARGET_ARCH = { x64: 'x86', arm64: 'arm64' };

/** v3: 32-bit jumps, Linux 5.1; every hook used here is younger. */
export const BPF_FLAGS = [
  '-O2',
  '-g',
  '-target',
  'bpf',
  '-mcpu=v3',
  '-Wall',
  '-Werror',
  `-D__TARGET_ARCH_${TARGET_ARCH[process.arch]}`,
  // Line information that is the same in every checkout.
  '-fdebug-compilation-dir=.',
];

/** bpf/x.bpf.c -> dist/bpf/x.bpf.o */
export function bpfObjects() {
  const sources = filesUnder(at('bpf'), (name) => name.endsWith('.bpf.c') && !name.includes('/'));
  return sources.map((source) => ({
    source,
    object: at('dist', 'bpf', basename(source).replace(/\.c$/, '.o')),
  }));
}

/** @type {import('../setup.mjs').Step} */
export const bpfStep = {
  name: 'eBPF programs',
  purposes: [
    'build',
    'demo',
    'test',
    'bench',
    'vm',
    'test:matrix',
    'image',
    'test:image',
    'test:node',
    'test:cluster',
    'test:cni',
    'test:kube',
    'test:runtimes',
  ],
  inputs: () => hash(filesUnder(at('bpf'), isC), [BPF_FLAGS, compiler()]),
  async run(progress) {
    const objects = bpfObjects();
    mkdirSync(at('dist', 'bpf'), { recursive: true });
    for (const { source, object } of objects) {
      const include = kernelHeaders();
      const flags = [...BPF_FLAGS, ...(existsSync(include) ? [`-I${include}`] : [])];
      const fresh = `${object}.new`;
      await compile(progress, source, [...flags, '-I', 'bpf', '-c', shown(source), '-o', fresh]);
      // DWARF goes; .BTF and .BTF.ext, which libbpf needs, are no debug sections and stay.
      await tool(progress, 'llvm-strip', ['-g', fresh]);
      await assertBtf(progress, fresh, source);
      renameSync(fresh, object);
    }
    const wanted = objects.map(({ object }) => object);
    for (const stale of filesUnder(at('dist', 'bpf'), () => true)) {
      if (!wanted.includes(stale)) rmSync(stale);
    }
    progress.say(`clang: ${objects.length} eBPF objects in dist/bpf`);
    return wanted;
  },
};

export async function compile(progress, source, args) {
  const { code, tail } = await progress.run(`clang ${shown(source)}`, 'clang', args, builder());
  if (code !== 0)
    throw new SetupError(`${shown(source)} does not compile:\n${tail}`, 'mend it, then run again');
}

async function tool(progress, command, args) {
  const outcome = await progress.run(command, command, args, builder());
  if (outcome.code !== 0) {
    throw new SetupError(
      `${command} failed:\n${outcome.tail}`,
      'sudo apt-get install --reinstall llvm clang',
    );
  }
  return outcome.output;
}

async function assertBtf(progress, object, source) {
  const sections = await tool(progress, 'llvm-readelf', ['-S', '--wide', object]);
  for (const section of ['.BTF ', '.BTF.ext ']) {
    if (!sections.includes(section)) {
      throw new SetupError(`${shown(source)}: clang wrote no ${section.trim()} section`, 'use clang >= 11');
    }
  }
}

/** Where Debian keeps asm/types.h, at which a target without a C library does not look. */
export function kernelHeaders() {
  return join('/usr/include', MULTIARCH[process.arch]);
}

/** The compiler as its file: another clang means another build, and asking it for its version costs 30 ms. */
export function compiler() {
  const found = [...systemPath().split(delimiter), '/usr/bin']
    .map((folder) => join(folder, 'clang'))
    .find(existsSync);
  if (found === undefined) return 'none';
  const file = realpathSync(found);
  return `${file} ${statSync(file).size}`;
}

export function isC(name) {
  return /\.[ch]$/.test(name);
}

function shown(file) {
  return file.slice(ROOT.length + 1);
}
