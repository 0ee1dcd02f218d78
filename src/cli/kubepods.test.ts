import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { CgroupTree } from '../lab/cgroup.ts';
import { until } from '../lab/deadline.ts';
import { LabProcess } from '../lab/process.ts';
import { kubepodsCgroup } from './kubepods.ts';

it('finds the cgroup above all pods, of either driver, and of two the one that has pods', async () => {
  await using tree = CgroupTree.make(`shunt-kubepods${process.pid}`);
  const made = (...names: string[]) => tree.add(...names);
  const none = made('none');
  assert.equal(kubepodsCgroup([none]), null);
  assert.equal(kubepodsCgroup([none, made('kind')]), null);
  const kind = made('kind', 'kubelet.slice', 'kubelet-kubepods.slice');
  assert.equal(kubepodsCgroup([none, join(tree.path, 'kind')]), kind);
  const slice = made('node', 'kubepods.slice');
  const plain = made('node', 'kubepods');
  const node = join(tree.path, 'node');
  assert.equal(kubepodsCgroup([node]), slice);
  const pod = join(plain, 'pod1');
  mkdirSync(pod);
  await using _ = await LabProcess.start('pod', ['sleep', 'infinity'], {
    place: { cgroup: pod },
    logFile: '/dev/null',
  });
  await until(() => kubepodsCgroup([node]) === plain || undefined, { what: 'the populated one to be found' });
});
