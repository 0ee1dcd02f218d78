/** Whoever is not in a pod of ours meets none of our programs, and programs of others go on as if we were not there. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { attachedPrograms, Link } from 'libbpf-ts';
import { run } from '../../src/lab/command.ts';
import { placed } from '../../src/lab/process.ts';
import { resolveCgroup } from '../../src/pod/cgroup.ts';
import { dupListeners } from '../../src/pod/listeners.ts';
import {
  APP_PORT,
  ContainedBed,
  compileStrangers,
  countingRuns,
  loadStrangers,
  SLOT,
  type Strangers,
} from './bed.ts';

/** As the program stores it. */
function ip4(text: string): bigint {
  return BigInt(Buffer.from(text.split('.').map(Number)).readUInt32LE());
}

function dotted(ip4: bigint): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(Number(ip4));
  return [...bytes].join('.');
}

function last({ maps: { slots } }: Strangers): { ip4: bigint; port: bigint } {
  return { ip4: slots.get(SLOT.lastIp4) ?? 0n, port: slots.get(SLOT.lastPort) ?? 0n };
}

describe('our programs', () => {
  let bed: ContainedBed;
  let activity = '';
  before(async () => {
    bed = await ContainedBed.open('contained');
    activity = join(bed.folder, 'activity');
    const source = join(import.meta.dirname, 'activity.c');
    await run(['clang', '-O2', '-Wall', '-Werror', '-o', activity, source]);
  });
  after(() => bed?.[Symbol.asyncDispose]());

  it('do not run for a process outside the cgroup they are attached to, whatever it does with sockets', async () => {
    using _ = countingRuns();
    const start = bed.runs();
    await run(placed({ cgroup: bed.elsewhere, netns: bed.outside.path }, [activity]));
    assert.deepEqual(bed.runs(), start);
    // The same by a process of the pod: each of them runs.
    await run(placed({ cgroup: bed.container('app'), netns: bed.pod.path }, [activity]));
    const idle = [...bed.runs()].filter(([name, count]) => count === start.get(name));
    assert.deepEqual(idle, []);
    assert.equal(start.size, bed.datapath.links().length + 1);
  });

  it('do not run for a process outside that cgroup even within the network namespace of a pod', async () => {
    using _ = countingRuns();
    const start = bed.runs();
    await run(placed({ cgroup: bed.elsewhere, netns: bed.pod.path }, [activity]));
    const ran = [...bed.runs()].filter(([name, count]) => count !== start.get(name)).map(([name]) => name);
    // Steering belongs to the namespace, not to a cgroup.
    assert.deepEqual(ran, ['inbound']);
  });
});

describe('programs of others at our hooks', () => {
  let bed: ContainedBed;
  let first: Strangers;
  let later: Strangers;
  let below: Strangers;
  const stack = new DisposableStack();

  function attach(programs: Strangers['programs'], cgroup: string): void {
    for (const program of [programs.stranger_connect, programs.stranger_sockops, programs.stranger_sockopt]) {
      stack.use(Link.attachCgroup(program, { cgroup }));
    }
  }

  before(async () => {
    bed = await ContainedBed.open('beside', async ({ attached, folder }) => {
      const objects = await compileStrangers(folder);
      first = stack.use(await loadStrangers(objects));
      later = stack.use(await loadStrangers(objects));
      below = stack.use(await loadStrangers(objects));
      attach(first.programs, attached);
    });
    attach(later.programs, bed.attached);
    attach(below.programs, bed.container('app'));
  });
  after(async () => {
    stack.dispose();
    await bed?.[Symbol.asyncDispose]();
  });

  it('all run, before and after ours and in a child cgroup, and the connection is redirected all the same', async () => {
    const saw = await bed.connect('app');
    assert.equal(saw.landing, 'sidecar:15001');
    assert.equal(saw.original, `${bed.outside.ip4}:${APP_PORT}`);
    assert.equal(saw.peer, `${bed.outside.ip4}:${APP_PORT}`);
    for (const stranger of [first, later, below]) {
      assert.equal(stranger.maps.slots.get(SLOT.connects), 1n);
      assert.ok((stranger.maps.slots.get(SLOT.sockops) ?? 0n) > 0n);
      assert.ok((stranger.maps.slots.get(SLOT.getsockopts) ?? 0n) > 0n);
    }
  });

  it('see the destination as the order of attachment has it: those of child cgroups before us', () => {
    const asked = { ip4: ip4(bed.outside.ip4), port: BigInt(APP_PORT) };
    assert.deepEqual(last(below), asked);
    assert.deepEqual(last(first), asked);
    // The target of this destination, in 127.64.0.0/10.
    const { ip4: target, port } = last(later);
    assert.equal(port, 15001n);
    assert.match(dotted(target), /^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./);
  });

  it('may refuse what we would redirect', async () => {
    below.maps.slots.set(SLOT.refusedPort, BigInt(APP_PORT));
    assert.equal((await bed.connect('app')).landing, 'EPERM');
    below.maps.slots.set(SLOT.refusedPort, 0n);
    assert.equal((await bed.connect('app')).landing, 'sidecar:15001');
  });

  it('stay where they are when ours go', async () => {
    const ids = () => attachedPrograms(bed.attached, 'cgroup_inet4_connect');
    const strangers = [first.programs.stranger_connect.id, later.programs.stranger_connect.id];
    const links = bed.datapath.links();
    const own = links.filter(({ attachType }) => attachType === 'cgroup_inet4_connect');
    assert.equal(ids().length, strangers.length + own.length);
    for (const { linkId } of links) {
      using link = Link.fromId(linkId);
      link.detach();
    }
    assert.deepEqual(ids(), strangers);
    const connects = first.maps.slots.get(SLOT.connects) ?? 0n;
    assert.equal((await bed.connect('app')).landing, `outside:${APP_PORT}`);
    assert.equal(first.maps.slots.get(SLOT.connects), connects + 1n);
  });
});

for (const [when, isFirst] of [
  ['before ours', true],
  ['after ours', false],
] as const) {
  describe(`an sk_lookup program of somebody else in the pod, attached ${when}`, () => {
    let bed: ContainedBed;
    let stranger: Strangers;
    const stack = new DisposableStack();
    before(async () => {
      bed = await ContainedBed.open('lookup', async ({ folder, pod }) => {
        stranger = stack.use(await loadStrangers(await compileStrangers(folder)));
        if (isFirst) stack.use(Link.attachNetns(stranger.programs.stranger_lookup, { netns: pod.path }));
      });
      if (!isFirst) {
        assert.deepEqual(bed.datapath.others(bed.workload), []);
        stack.use(Link.attachNetns(stranger.programs.stranger_lookup, { netns: bed.pod.path }));
      }
    });
    after(async () => {
      stack.dispose();
      await bed?.[Symbol.asyncDispose]();
    });

    it('is told of by name', () => {
      const { id } = stranger.programs.stranger_lookup;
      const [other = '', ...more] = bed.datapath.others(bed.workload);
      assert.match(other, new RegExp(`^program stranger_looku\\S* \\(${id}\\) steers inbound`));
      assert.deepEqual(more, []);
    });

    it('runs for every connection, and where it chooses nothing ours are steered', async () => {
      const lookups = stranger.maps.slots.get(SLOT.lookups) ?? 0n;
      assert.equal((await bed.reach()).landing, 'sidecar:15006');
      assert.equal((stranger.maps.slots.get(SLOT.lookups) ?? 0n) > lookups, true);
    });

    it('has its way where it chooses a socket, and no refusal is told of', async () => {
      const refused = bed.counter('inboundRefused');
      const app = { cgroup: resolveCgroup(bed.container('app')), port: APP_PORT, uids: [1000] };
      const listeners = dupListeners({ ...app, netns: bed.workload.netns });
      using _ = new DisposableStack();
      for (const listener of listeners) _.use(listener);
      const listener = listeners.find(({ family }) => family === 4);
      assert.ok(listener);
      stranger.maps.socks.setFd(0, listener.fd);
      stranger.maps.slots.set(SLOT.choosesPort, BigInt(APP_PORT));
      assert.equal((await bed.reach()).landing, `app:${APP_PORT}`);
      assert.equal(bed.counter('inboundRefused'), refused);
      stranger.maps.slots.set(SLOT.choosesPort, 0n);
      assert.equal((await bed.reach()).landing, 'sidecar:15006');
    });

    it('stays when the pod is withdrawn', async () => {
      await bed.datapath.withdraw(bed.workload.netns.cookie);
      assert.deepEqual(attachedPrograms(bed.pod.path, 'sk_lookup'), [stranger.programs.stranger_lookup.id]);
      assert.equal((await bed.reach()).landing, `app:${APP_PORT}`);
    });
  });
}
