import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ShuntError } from '../errors.ts';
import { cgroup2Mount } from './cgroup.ts';

it('finds cgroup v2 beside v1', () => {
  const hybrid = [
    '31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755',
    '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory',
    '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw',
  ].join('\n');
  assert.equal(cgroup2Mount(hybrid), '/sys/fs/cgroup/unified');
});

it('finds cgroup v2 alone', () => {
  const pure = '27 20 0:24 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate';
  assert.equal(cgroup2Mount(pure), '/sys/fs/cgroup');
});

it('passes over a mount of a part of the hierarchy', () => {
  const partial = '27 20 0:24 /some/slice /mnt/cg rw - cgroup2 cgroup2 rw';
  assert.throws(
    () => cgroup2Mount(partial),
    (error) => error instanceof ShuntError && error.code === 'SHUNT_E_LAB_CGROUP2',
  );
});
