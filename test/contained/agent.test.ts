/** What an agent says of programs of others, and that acceleration leaves sockets alone that somebody else's sockmap has. */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { attachSockmapProgram, codec, Link, SockMap } from 'libbpf-ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import type { Connection } from '../../src/lab/client.ts';
import { until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { pidfdGetfd, pidfdOpen, socketCookie } from '../../src/pod/syscall.ts';
import { FaultBed } from '../faults/bed.ts';
import { annotate } from '../integrity/annotation.ts';
import { compileStrangers, loadStrangers, SLOT, type Strangers } from './bed.ts';

const TCP_ESTABLISHED = '01';

describe('an agent beside programs of others', () => {
  let bed: FaultBed;
  let stranger: Strangers;
  const stack = new DisposableStack();
  before(async () => {
    bed = await FaultBed.open('others');
    const status = await bed.start();
    assert.ok(status.acceleration.enabled, status.acceleration.reason);
    // Whatever the canary says of applications' sockets here: it is about those.
    await annotate(bed, 'full');
    const folder = stack.adopt(mkdtempSync(join(tmpdir(), 'shunt-others-')), (path) =>
      rmSync(path, { recursive: true }),
    );
    stranger = stack.use(await loadStrangers(await compileStrangers(folder)));
    attachSockmapProgram(stranger.programs.stranger_message, stranger.maps.socks);
  });
  after(async () => {
    stack.dispose();
    await bed?.[Symbol.asyncDispose]();
  });

  it('names in log and report who else steers in the network namespace of a pod, until it is gone', async () => {
    const others = async (pod: string) => {
      await bed.client.reconcile();
      return (await bed.client.pods()).find(({ name }) => name === pod)?.others;
    };
    assert.deepEqual(await others('pod-a'), []);
    {
      using _ = Link.attachNetns(stranger.programs.stranger_lookup, { netns: bed.lab.pod('a').netns.path });
      const [told = ''] = (await others('pod-a')) ?? [];
      assert.match(told, /^program stranger_looku\S* \(\d+\) steers inbound connections as well/);
      assert.deepEqual(await others('pod-b'), []);
      const lines = bed.log().filter(({ event }) => event === 'others');
      assert.deepEqual(
        lines.map((line) => line.others),
        [[told]],
      );
      assert.ok(await bed.redirected());
    }
    assert.deepEqual(await others('pod-a'), []);
  });

  it('does not promote a socket that a sockmap of somebody else has, and its peer goes by TCP', async () => {
    const { client, connections } = await open();
    using taken = socketsOf(client.process.pid);
    for (const [index, fd] of taken.fds.entries()) stranger.maps.socks.setFd(index, fd);
    await warm(connections, 2);
    const messages = stranger.maps.slots.get(SLOT.messages) ?? 0n;
    await Promise.all(connections.map((connection) => connection.exchange(100, 1_000)));
    const seen = (stranger.maps.slots.get(SLOT.messages) ?? 0n) - messages;
    assert.ok(seen >= BigInt(100 * connections.length), `${seen} messages`);
    assert.deepEqual(
      ours().filter((cookie) => taken.cookies.includes(cookie)),
      [],
    );
    await Promise.all(connections.map((connection) => connection.close()));
  });

  it('keeps a socket that it has promoted: the other is told that it is busy, and no byte is lost', async () => {
    const { client, connections } = await open();
    await warm(connections, 3);
    using taken = socketsOf(client.process.pid);
    assert.deepEqual(
      taken.cookies.filter((cookie) => !ours().includes(cookie)),
      [],
    );
    const traffic = Promise.all(connections.map((connection) => connection.exchange(300, 1_000)));
    for (const [index, fd] of taken.fds.entries()) {
      assert.throws(() => stranger.maps.socks.setFd(index, fd), { code: 'EBUSY' });
    }
    await traffic;
    await Promise.all(connections.map((connection) => connection.close()));
  });

  async function open() {
    const client = await bed.lab.pod('a').client();
    const target = { host: bed.lab.pod('b').address(4), port: APP_PORT };
    const connections = await Promise.all([1, 2, 3].map(() => client.connect(target)));
    return { client, connections };
  }

  /** Until of each connection so many sockets of pod a are promoted: the sidecar's two, and the application's. */
  async function warm(connections: Connection[], each: number): Promise<void> {
    const promoted = async () =>
      (await bed.client.pods()).find(({ name }) => name === 'pod-a')?.held?.counters.promoted ?? 0n;
    const start = await promoted();
    await until(
      async () => {
        await Promise.all(connections.map((connection) => connection.exchange(5, 100)));
        return (await promoted()) - start >= BigInt(each * connections.length) || undefined;
      },
      { what: 'connections to be promoted', timeoutMs: 60_000, everyMs: 50 },
    );
  }

  /** Cookies of the sockets that we have promoted. */
  function ours(): bigint[] {
    using socks = SockMap.fromPin(new Pins(bed.bpffs).map('socks'), { key: codec.u64 });
    return [...socks.keys()];
  }
});

/** Duplicates of the established TCP sockets of a process. */
function socketsOf(pid: number): Disposable & { fds: number[]; cookies: bigint[] } {
  const established = readFileSync(`/proc/${pid}/net/tcp`, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === TCP_ESTABLISHED)
    .map((fields) => `socket:[${fields[9]}]`);
  const pidfd = pidfdOpen(pid);
  const fds = readdirSync(`/proc/${pid}/fd`)
    .filter((fd) => established.includes(readlinkSync(`/proc/${pid}/fd/${fd}`)))
    .map((fd) => pidfdGetfd(pidfd, Number(fd)));
  closeSync(pidfd);
  assert.ok(fds.length >= 3 && fds.every((fd) => fstatSync(fd).isSocket()));
  return {
    fds,
    cookies: fds.map(socketCookie),
    [Symbol.dispose]() {
      for (const fd of fds) closeSync(fd);
    },
  };
}
