#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { withBpffs } from '../bpffs.mjs';
import { NODE, ROOT } from '../place.mjs';
import { tellFailure } from '../setup.mjs';
import { buildImage } from './build.mjs';

/*
 * `npm run test:image`, `test:node` and `test:cluster`: the image made from this checkout, and the tests of one folder that
 * run the agent out of it; through a program that makes a place for them, where one is given.
 */
const [given = 'test/image', ...through] = process.argv.slice(2);
const folder = resolve(ROOT, given);

const unmount = withBpffs((line) => process.stdout.write(`image    ${line}\n`));
try {
  const archive = buildImage();
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
  const args = ['--conditions=source', '--test', '--test-reporter=spec', '--test-concurrency=1'];
  const [program, ...words] = [...through, NODE, ...args, ...files.map((name) => join(folder, name))];
  const { status } = spawnSync(program, words, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, SHUNT_TEST_IMAGE: archive },
  });
  process.exitCode = status ?? 1;
} catch (error) {
  tellFailure(error);
  process.stdout.write('\n0 passed, 1 failed\n');
} finally {
  unmount();
}
