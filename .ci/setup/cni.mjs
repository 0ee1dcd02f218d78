import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { at } from '../place.mjs';
import { compile, compiler, isC, kernelHeaders } from './programs.mjs';
import { SetupError } from './progress.mjs';
import { filesUnder, hash } from './stamps.mjs';

const FOLDER = at('native', 'cni');
const FLAGS = [
  '-Os',
  '-ffreestanding',
  '-fno-builtin',
  '-nostdlib',
  '-static',
  '-fno-pie',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-Wl,--build-id=none,-z,noexecstack,--gc-sections,-s',
];
/** It is copied to every node and run for every pod. */
const LIMIT_BYTES = 100_000;

/** native/cni -> dist/shunt-cni: the CNI plugin, static and without a C library. */
export const cniStep = {
  name: 'CNI plugin',
  purposes: [
    'build',
    'demo',
    'test',
    'test:cni',
    'test:matrix',
    'image',
    'test:image',
    'test:node',
    'test:cluster',
  ],
  inputs: () => hash(filesUnder(FOLDER, isC), [FLAGS, compiler()]),
  async run(progress) {
    const program = at('dist', 'shunt-cni');
    const fresh = `${program}.new`;
    mkdirSync(at('dist'), { recursive: true });
    const include = kernelHeaders();
    const flags = [...FLAGS, ...(existsSync(include) ? [`-I${include}`] : [])];
    await compile(progress, at('native', 'cni', 'shunt-cni.c'), [
      ...flags,
      'native/cni/shunt-cni.c',
      '-o',
      fresh,
    ]);
    const { size } = statSync(fresh);
    if (size > LIMIT_BYTES) {
      throw new SetupError(
        `dist/shunt-cni has ${size} bytes, more than ${LIMIT_BYTES}`,
        'see what clang added to it',
      );
    }
    renameSync(fresh, program);
    progress.say(`clang: dist/shunt-cni (${size} bytes)`);
    return [program];
  },
};
