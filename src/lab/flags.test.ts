import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { attempt } from './command.ts';

const MODULE = join(import.meta.dirname, 'flags.ts');
const SCRIPT = `
  const { flags } = await import(${JSON.stringify(MODULE)});
  const { values } = flags('usage: it [--size N]\\n', { options: { size: { type: 'string' } } });
  console.log(values.size);`;

function run(...words: string[]) {
  return attempt([process.execPath, '--input-type=module', '-e', SCRIPT, '--', ...words]);
}

it('gives what was set', async () => {
  const { code, stdout } = await run('--size', '7');
  assert.deepEqual([code, stdout], [0, '7\n']);
});

for (const words of [['--sise', '7'], ['--size'], ['7']]) {
  it(`ends with 2, the fault and the usage for ${words.join(' ')}`, async () => {
    const { code, stdout, stderr } = await run(...words);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /^.+\nusage: it \[--size N\]\n$/);
  });
}
