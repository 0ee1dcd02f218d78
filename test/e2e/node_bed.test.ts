/** The bench's agent with many pods: one that was killed is swept by the next of its name. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { NodeBed } from '../../bench/node_bed.ts';
import { cgroup2Mount } from '../../src/lab/cgroup.ts';
import { netnsOf } from '../../src/lab/topology.ts';
import { testBpffs } from '../fixtures/bpffs.ts';

const BED = join(import.meta.dirname, '../../bench/node_bed.ts');
const PREFIX = `shunt-nodebed${process.pid}`;

function remains(bpffs: string): string[] {
  const places = [join(cgroup2Mount(), PREFIX), join(bpffs, PREFIX), `/run/shunt-lab/${PREFIX}`];
  return [...netnsOf(PREFIX), ...places.filter((place) => existsSync(place))];
}

it('begins where a killed one left off, and leaves nothing', async () => {
  using bpffs = testBpffs();
  const script = `
    const { NodeBed } = await import(${JSON.stringify(BED)});
    const bed = await NodeBed.open(${JSON.stringify(bpffs.path)}, 2, ${JSON.stringify(PREFIX)});
    console.log('open');
    setInterval(() => bed.agent.assertRunning(), 1000);`;
  const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), ended]);
  assert.equal(child.exitCode, null, 'it stays open');
  child.kill('SIGKILL');
  await ended;
  assert.equal(remains(bpffs.path).length, 5, remains(bpffs.path).join(', '));
  {
    await using bed = await NodeBed.open(bpffs.path, 2, PREFIX);
    assert.equal((await bed.client.status()).pods.enrolled, 0);
  }
  assert.deepEqual(remains(bpffs.path), []);
});
