import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BpfError, errnoError, errnoName, VerifierLog } from './errors.ts';
import { hintFor } from './hints.ts';

test('every spelling of not supported has one name', () => {
  assert.equal(errnoName(95), 'ENOTSUP');
  assert.equal(errnoName(-524), 'ENOTSUP');
  assert.equal(errnoName(-11), 'EAGAIN');
  assert.equal(errnoName(999), 'ERRNO_999');
});

test('the message is one line: what, to what, why', () => {
  const error = errnoError(-13, 'load', 'program connect4', { detail: 'R0 invalid mem access' });
  assert.equal(error.message, 'load program connect4: EACCES: R0 invalid mem access');
  assert.equal(error.errno, 13);
  assert.equal(error.code, 'EACCES');
  assert.ok(error instanceof BpfError && error instanceof Error);
});

test('hints depend on what was done', () => {
  assert.match(hintFor('pin', 'EPERM') ?? '', /bpffs/);
  assert.match(hintFor('load', 'EPERM') ?? '', /CAP_BPF/);
  assert.match(hintFor('list maps', 'EPERM') ?? '', /CAP_SYS_ADMIN/);
  assert.match(hintFor('attach', 'EPERM') ?? '', /CAP_BPF/);
  assert.match(hintFor('update', 'E2BIG') ?? '', /full/);
  assert.match(hintFor('load program x', 'E2BIG') ?? '', /limit/);
  assert.match(hintFor('load map x', 'E2BIG') ?? '', /maxEntries/);
  assert.equal(hintFor('lookup in', 'EFAULT'), undefined);
});

test('the verdict of a verifier log is the line before its statistics', () => {
  const log = new VerifierLog(
    '0: R1=ctx()\n1: (61) r0 = *(u32 *)(r0 +0)\nR0 !read_ok\nprocessed 2 insns (limit 1000000)\n\n',
  );
  assert.equal(log.verdict(), 'R0 !read_ok');
  assert.equal(log.lines().length, 4);
  assert.equal(log.tail(2), 'R0 !read_ok\nprocessed 2 insns (limit 1000000)');
});
