#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { withBpffs } from '../bpffs.mjs';
import { NODE, ROOT } from '../place.mjs';
import { tellFailure } from '../setup.mjs';
import { buildImage } from './build.mjs';

/*
 * `npm run test:image` and `npm run test:node`: the image made from this checkout, and the tests of one folder that run
 * the agent out of it.
 */
const [given = 'test/image'] = process.argv.slice(2);
const folder = resolve(ROOT, given);

const unmount = withBpffs((line) => process.stdout.write(`image    ${line}\n`));
try {
  const archive = buildImage();
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
  const args = ['--conditions=source', '--test', '--test-reporter=spec', '--test-concurrency=1'];
  const { status } = spawnSync(NODE, [...args, ...files.map((name) => join(folder, name))], {
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
