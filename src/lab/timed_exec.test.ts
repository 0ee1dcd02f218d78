import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { TimedExec } from './timed_exec.ts';

it('runs programs with their environment and input, one after the other, and tells how long they took', async (t) => {
  const folder = mkdtempSync('/var/tmp/shunt-timed-');
  t.after(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'program');
  // Its own account of what it got is what its exit code says.
  writeFileSync(
    program,
    '#!/bin/sh\nsleep "$PAUSE"\nread -r line\necho "got $line"\n[ "$line" = "$WANTED" ]\n',
    {
      mode: 0o755,
    },
  );
  await using timed = await TimedExec.start(folder);
  const path = process.env.PATH ?? '';
  const tookMs = await timed.run(program, { PATH: path, PAUSE: '0.2', WANTED: 'a = b' }, 'a = b\n');
  assert.ok(tookMs >= 200, `${tookMs} ms`);
  await assert.rejects(timed.run(program, { PATH: path, PAUSE: '0', WANTED: 'this' }, 'that\n'), {
    code: 'SHUNT_E_LAB_COMMAND',
    message: /exit code 1: got that/,
  });
  assert.ok((await timed.run(program, { PATH: path, PAUSE: '0', WANTED: '' })) > 0, 'a read of nothing');
  await assert.rejects(timed.run(join(folder, 'missing')), { code: 'SHUNT_E_LAB_PROCESS' });
});
