import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { testCgroup } from '../../test/fixtures/kernel.ts';
import { until } from '../lab/deadline.ts';
import { ContainerWatch } from './container_watch.ts';

function recorded(): { watch: ContainerWatch; told: string[] } {
  const told: string[] = [];
  return { told, watch: new ContainerWatch((uid, path) => told.push(`${uid} ${path}`)) };
}

test('a container that comes and one that goes are told with their pod, of either pod of a directory', async () => {
  using directory = testCgroup('watch');
  const { watch, told } = recorded();
  using _ = watch;
  assert.ok(watch.set('a', [directory.path]));
  assert.ok(watch.set('b', [directory.path, join(directory.path, 'missing')]));
  assert.ok(!watch.set('a', [directory.path]), 'it is watched already');
  const container = join(directory.path, 'proxy');
  mkdirSync(container);
  const lines = [`a ${container}`, `b ${container}`];
  await until(() => told.length === 2 || undefined, { what: 'the container' });
  assert.deepEqual(told.splice(0).sort(), lines);
  rmdirSync(container);
  await until(() => told.length === 2 || undefined, { what: 'its end' });
  assert.deepEqual(told.sort(), lines);
});

test('a pod that was made anew at the same path is watched again, and one that is gone no more', async () => {
  using directory = testCgroup('watch');
  const { watch, told } = recorded();
  using _ = watch;
  const pod = join(directory.path, 'pod');
  mkdirSync(pod);
  watch.set('a', [pod]);
  watch.set('b', [directory.path]);
  watch.keep(new Set(['a']));
  rmdirSync(pod);
  using again = directory.child('pod');
  assert.ok(watch.set('a', [again.path]), 'it is another directory');
  using container = again.child('proxy');
  await until(() => told.length > 0 || undefined, { what: 'the container' });
  assert.deepEqual([...new Set(told)], [`a ${container.path}`]);
});
