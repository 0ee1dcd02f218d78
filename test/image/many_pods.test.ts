/** Memory of the image's agent with as many pods as a large node has. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { until } from '../../src/lab/deadline.ts';
import { podYaml } from '../../src/lab/manifest.ts';
import { imageArchive } from './archive.ts';
import { type AgentPlace, ImageBed } from './bed.ts';

const PODS = 500;
/** DESIGN: agent RSS at 500 pods. */
const TARGET_KB = 90 * 1000;

function addressOf(index: number): string {
  return `10.99.${index >> 8}.${index & 255}`;
}

/** Namespaces with nothing but lo, which carries the pod's address. */
class Namespaces implements Disposable {
  readonly names: readonly string[];

  constructor(prefix: string, count: number) {
    this.names = Array.from({ length: count }, (_, index) => `${prefix}-p${index}`);
    this.#ip(this.names.map((name) => `netns add ${name}`));
    for (const [index, name] of this.names.entries()) {
      const script = ['link set lo up', `address add ${addressOf(index)}/32 dev lo`];
      spawnSync('ip', ['-n', name, '-batch', '-'], { input: script.join('\n') });
    }
  }

  #ip(script: string[]): void {
    const { status, stderr } = spawnSync('ip', ['-force', '-batch', '-'], {
      input: `${script.join('\n')}\n`,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(stderr);
  }

  [Symbol.dispose](): void {
    this.#ip(this.names.map((name) => `netns del ${name}`));
  }
}

function memoryOf(pid: number): { residentKb: number; anonymousKb: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1]);
  return { residentKb: field('VmRSS'), anonymousKb: field('RssAnon') };
}

const skip = imageArchive() === null && 'npm run test:image makes the image, and runs this';
describe(`the image with ${PODS} pods`, { skip, timeout: 400_000 }, () => {
  const stack = new AsyncDisposableStack();
  let bed: ImageBed;
  let place: AgentPlace;
  before(() => {
    bed = stack.use(new ImageBed('m'));
    const { names } = stack.use(new Namespaces(bed.prefix, PODS));
    const tree = stack.use(CgroupTree.make(bed.prefix));
    const manifests = join(bed.folder, 'manifests');
    mkdirSync(manifests);
    for (const [index, name] of names.entries()) {
      tree.add(name, 'istio-proxy');
      const where = { netns: `/run/netns/${name}`, cgroup: tree.add(name), podIPs: [addressOf(index)] };
      writeFileSync(join(manifests, `${name}.yaml`), podYaml({ name, ...where }));
    }
    place = { manifests, cgroup: tree.path };
  });
  after(() => stack.disposeAsync());

  it('enrolls them all within the memory that the manifest allows', async (t) => {
    const startedAt = performance.now();
    await using agent = await bed.startAgent(place);
    const reports = await bed.reports(agent, PODS);
    const seconds = (performance.now() - startedAt) / 1000;
    const states = new Map<string, number>();
    for (const { state } of reports) states.set(state, (states.get(state) ?? 0) + 1);
    assert.deepEqual([...states], [['enrolled', PODS]], agent.log().slice(-2000));

    const pid = await agent.pid();
    const peak = memoryOf(pid);
    // Ten more answers with every pod in them, as `shunt status` and a scrape ask for.
    for (let i = 0; i < 10; i++) await bed.client.status();
    await bed.client.reconcile();
    const settled = await until(() => memoryOf(pid), { what: 'its memory' });
    const line = `agent with ${PODS} pods: ${kb(settled)} (just enrolled: ${kb(peak)}; target ${TARGET_KB / 1000} MB); all enrolled ${seconds.toFixed(1)} s after the start of the container`;
    t.diagnostic(line);
    process.stderr.write(`${line}\n`);
    const [{ resources }] = bed.pod().containers;
    assert.ok(resources !== undefined && settled.residentKb * 1024 < resources.limits.memory, line);
    assert.equal(await agent.stop(), 0);
    bed.cleanUp();
  });
});

function kb({ residentKb, anonymousKb }: ReturnType<typeof memoryOf>): string {
  return `${(residentKb / 1000).toFixed(1)} MB resident, ${(anonymousKb / 1000).toFixed(1)} MB of it anonymous`;
}
