/** An agent on a node that is itself a container, as kind's are: the root of cgroups that it sees is not the kernel's. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { cgroup2Mount } from '../../src/lab/cgroup.ts';
import { CLI } from '../fixtures/cli.ts';
import { FaultBed } from './bed.ts';

const LABEL = 'cgroupns';
/** Becomes the command in a cgroup namespace whose root is the lab's own cgroup, which it mounts where it is. */
const ENTER = `echo $$ >"$1/cgroup.procs" || exit
exec unshare --cgroup --mount sh -c 'mount -t cgroup2 cgroup2 "$1" && shift && exec "$@"' sh "$@"`;

describe('in a cgroup namespace of its own', () => {
  let bed: FaultBed;
  before(async () => {
    const cgroup = join(cgroup2Mount(), `shunt-${LABEL}${process.pid}`);
    bed = await FaultBed.open(LABEL, { program: ['sh', '-c', ENTER, 'sh', cgroup, ...CLI] });
  });
  after(() => bed?.[Symbol.asyncDispose]());

  it('an agent tells sidecars by their cgroups, and no sidecar is captured itself', async () => {
    const { pid } = await bed.start();
    assert.equal(/^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1], `/${bed.lab.prefix}`);
    const { pods } = await bed.settled((_, known) => known.length === 2);
    assert.deepEqual(
      pods.map(({ identity }) => identity),
      ['cgroup', 'cgroup'],
    );
    assert.ok(await bed.redirected());
    for (const { held } of await bed.client.pods()) assert.equal(held?.counters.impersonated, 0n);
  });

  it('who takes the uid of the sidecar outside its container is captured all the same', async () => {
    const impostor = await bed.lab.pod('a').client('impostor');
    await using connection = await impostor.connect({ host: bed.lab.pod('b').address(4), port: 8080 });
    await connection.who();
    const [a] = (await bed.client.pods()).filter(({ name }) => name === 'pod-a');
    assert.equal(a?.held?.counters.impersonated, 1n);
  });
});
