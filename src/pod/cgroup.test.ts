import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { testCgroup, testProcess } from '../../test/fixtures/kernel.ts';
import type { ErrorCode } from '../errors.ts';
import { containerCgroup, parseCgroup2Mounts, processesOf, resolveCgroup } from './cgroup.ts';
import type { PodObject } from './workload.ts';

const code = (expected: ErrorCode) => (error: unknown) => {
  assert.ok(error instanceof Error && 'code' in error);
  assert.equal(error.code, expected);
  return true;
};
const STAY = 'console.log("ready"); setInterval(() => {}, 1000)';

function podWith(annotations: Record<string, string>): PodObject {
  return {
    metadata: { name: 'p', namespace: 'n', labels: {}, annotations },
    spec: { hostNetwork: false, containers: [], initContainers: [] },
    status: { podIPs: [] },
  };
}

test('cgroup v2 mounts are found on unified and hybrid hosts, whole hierarchies first', () => {
  const mountinfo = [
    '31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755',
    '32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu',
    '50 31 0:38 /kubepods/pod1 /mnt/part rw,relatime - cgroup2 cgroup2 rw',
    '41 31 0:38 / /mnt/with\\040space rw,relatime shared:7 master:3 - cgroup2 none rw,nsdelegate',
    '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
    'cgroup2 - cgroup2',
    '',
  ].join('\n');
  assert.deepEqual(parseCgroup2Mounts(mountinfo), ['/mnt/with space', '/sys/fs/cgroup/unified', '/mnt/part']);
});

test('a cgroup is found by absolute path and by path below the mount', () => {
  using cgroup = testCgroup('a');
  const ref = resolveCgroup(cgroup.path);
  assert.deepEqual(ref, { path: cgroup.path, id: statSync(cgroup.path, { bigint: true }).ino });
  assert.deepEqual(resolveCgroup(basename(cgroup.path)), ref);
});

test('what is no cgroup v2 directory is refused', () => {
  assert.throws(() => resolveCgroup('shunt-test-none'), code('SHUNT_E_CGROUP_MISSING'));
  assert.throws(() => resolveCgroup('/tmp'), code('SHUNT_E_CGROUP_NOT_V2'));
  assert.throws(() => resolveCgroup('cgroup.procs'), code('SHUNT_E_CGROUP_NOT_V2'));
  assert.throws(() => resolveCgroup(`../${'../'.repeat(20)}tmp`), code('SHUNT_E_CGROUP_NOT_V2'));
});

test("a container's cgroup is its annotation's, else the directory of its name, else none", () => {
  using pod = testCgroup('pod');
  using sidecar = pod.child('istio-proxy');
  using other = pod.child('elsewhere');
  const annotations = { 'shunt.dev/cgroup': pod.path };
  assert.equal(containerCgroup(podWith(annotations), 'istio-proxy')?.path, sidecar.path);
  assert.equal(containerCgroup(podWith(annotations), 'app'), null);
  assert.equal(containerCgroup(podWith({}), 'istio-proxy'), null);
  const named = { ...annotations, 'shunt.dev/cgroup.istio-proxy': other.path };
  assert.equal(containerCgroup(podWith(named), 'istio-proxy')?.path, other.path);
});

test('an annotation that names a cgroup that is not there is refused, not taken for none', () => {
  using pod = testCgroup('pod');
  const gone = `${pod.path}/gone`;
  assert.throws(
    () => containerCgroup(podWith({ 'shunt.dev/cgroup': gone }), 'c'),
    code('SHUNT_E_CGROUP_MISSING'),
  );
  assert.throws(
    () => containerCgroup(podWith({ 'shunt.dev/cgroup.c': gone }), 'c'),
    code('SHUNT_E_CGROUP_MISSING'),
  );
});

test('the processes of a cgroup are its own and those below', async () => {
  using pod = testCgroup('pod');
  using container = pod.child('c');
  await using own = await testProcess(STAY, { cgroup: pod });
  await using below = await testProcess(STAY, { cgroup: container });
  assert.deepEqual(processesOf(resolveCgroup(pod.path)).sort(), [own.pid, below.pid].sort());
  assert.deepEqual(processesOf(resolveCgroup(container.path)), [below.pid]);
});

test('a cgroup that has gone has no processes', () => {
  let ref: ReturnType<typeof resolveCgroup>;
  {
    using cgroup = testCgroup('gone');
    ref = resolveCgroup(cgroup.path);
  }
  assert.deepEqual(processesOf(ref), []);
});
