import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { ShuntError } from '../../src/errors.ts';
import { cgroup2Mount } from '../../src/lab/cgroup.ts';
import { endpoint, hostOf } from '../../src/lab/endpoint.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { Lab, type LabOptions } from '../../src/lab/lab.ts';
import { netnsOf } from '../../src/lab/topology.ts';

const PODS: LabOptions['pods'] = [{ name: 'a', capture: 'shunt' }];

function prefixed(name: string): string {
  return `shunt-${name}${process.pid}`;
}

function remains(prefix: string): string[] {
  const places = [
    join(cgroup2Mount(), prefix),
    join(cgroup2Mount(), `${prefix}-baseline`),
    `/run/shunt-lab/${prefix}`,
    `/var/tmp/${prefix}-programs`,
  ];
  return [...netnsOf(prefix), ...places.filter((place) => existsSync(place))];
}

it('lets two labs of the same addresses live side by side, and leaves nothing of either', async () => {
  const [first, second] = [prefixed('one'), prefixed('two')];
  {
    const open = (prefix: string) => Lab.open({ prefix, sidecar: 'haproxy', pods: PODS });
    await using one = await open(first);
    await using two = await open(second);
    for (const lab of [one, two]) {
      const pod = lab.pod('a');
      const client = await pod.client();
      await using connection = await client.connect({ host: lab.outside.address(4), port: APP_PORT });
      const who = await connection.who();
      // Nothing captures: the server sees the client itself.
      assert.equal(who.peer, connection.local);
      assert.equal(connection.remote, endpoint(lab.outside.address(4), APP_PORT));
      assert.equal(hostOf(connection.local), pod.address(4));
      assert.equal(await rulesOf(pod.netns), '');
    }
    await assert.rejects(
      () => open(first),
      (error) => error instanceof ShuntError && error.code === 'SHUNT_E_LAB_IN_USE',
    );
    assert.notDeepEqual(remains(first), [], 'the refused lab must not take the living one down');
  }
  assert.deepEqual([...remains(first), ...remains(second)], []);
});

it('runs the sidecar and the app in their own cgroups and under their own uids', async () => {
  await using lab = await Lab.open({ prefix: prefixed('ids'), sidecar: 'haproxy', pods: PODS });
  const pod = lab.pod('a');
  const facts = (pid: number | null) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8').match(/^0::(.*)$/m)?.[1];
    return { uid: status.match(/^Uid:\t(\d+)/m)?.[1], gid: status.match(/^Gid:\t(\d+)/m)?.[1], cgroup };
  };
  assert.deepEqual(facts(pod.sidecar.pid), {
    uid: '1337',
    gid: '1337',
    cgroup: `/${lab.prefix}/pod-a/istio-proxy`,
  });
  assert.deepEqual(facts(pod.appPid), { uid: '10001', gid: '10001', cgroup: `/${lab.prefix}/pod-a/app` });
});

/** A process that opens a lab, says so, and stays. */
async function keeper(prefix: string) {
  const lab = join(import.meta.dirname, '..', '..', 'src', 'lab', 'lab.ts');
  const script = `
    const { Lab } = await import(${JSON.stringify(lab)});
    const lab = await Lab.open({ prefix: ${JSON.stringify(prefix)}, sidecar: 'haproxy', pods: ${JSON.stringify(PODS)} });
    console.log(lab.pod('a').appPid);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const appPid = await new Promise<number>((resolve, reject) => {
    child.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())));
    child.once('exit', (code) => reject(new Error(`the lab's process ended with ${code}`)));
  });
  return { child, ended, appPid };
}

it('takes a lab down when its process gets SIGTERM', async () => {
  const prefix = prefixed('term');
  const { child, ended } = await keeper(prefix);
  assert.notDeepEqual(remains(prefix), []);
  child.kill('SIGTERM');
  assert.equal(await ended, 128 + 15);
  assert.deepEqual(remains(prefix), []);
});

it('sweeps the lab of a process that was killed, when its name is taken again', async () => {
  const prefix = prefixed('kill');
  const { child, ended } = await keeper(prefix);
  child.kill('SIGKILL');
  await ended;
  assert.notDeepEqual(remains(prefix), []);
  await (await Lab.open({ prefix, sidecar: 'haproxy', pods: PODS }))[Symbol.asyncDispose]();
  assert.deepEqual(remains(prefix), []);
});
