import { mkdirSync, renameSync } from 'node:fs';
import { at } from '../place.mjs';
import { compile, compiler, isC } from './programs.mjs';
import { filesUnder, hash } from './stamps.mjs';

const SOURCE = at('native', 'decide', 'decide.c');
const FLAGS = ['-O2', '-Wall', '-Werror'];

/** native/decide/decide.c -> dist/decide: bpf/policy.h as a program of this machine, which `shunt explain` asks. */
export const decideStep = {
  name: 'native decision',
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
  ],
  inputs: () => hash([SOURCE, ...filesUnder(at('bpf'), isC)], [FLAGS, compiler()]),
  async run(progress) {
    const program = at('dist', 'decide');
    mkdirSync(at('dist'), { recursive: true });
    await compile(progress, SOURCE, [...FLAGS, 'native/decide/decide.c', '-o', `${program}.new`]);
    renameSync(`${program}.new`, program);
    progress.say('clang: dist/decide');
    return [program];
  },
};
