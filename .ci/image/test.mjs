#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { withBpffs } from '../bpffs.mjs';
import { at, NODE, ROOT } from '../place.mjs';
import { tellFailure } from '../setup.mjs';
import { buildImage } from './build.mjs';

/* `npm run test:image`: the image made from this checkout, and the agent run out of it; prints its memory. */
const FOLDER = 'test/image';

const unmount = withBpffs((line) => process.stdout.write(`image    ${line}\n`));
try {
  const archive = buildImage();
  const files = readdirSync(at(FOLDER)).filter((name) => name.endsWith('.test.ts'));
  const args = ['--conditions=source', '--test', '--test-reporter=spec', '--test-concurrency=1'];
  const { status } = spawnSync(NODE, [...args, ...files.map((name) => `${FOLDER}/${name}`)], {
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
