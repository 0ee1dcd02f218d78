import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Link } from 'libbpf-ts';
import { type TestBpffs, testBpffs } from '../../../test/fixtures/bpffs.ts';
import { testCgroup, testNetns } from '../../../test/fixtures/kernel.ts';
import { findLeftovers, type Leftover, removePin, waitClean } from './cleanup.ts';
import { builtObjects } from './compile.ts';
import { PodFlags } from './gen/objects.ts';
import { listOwnPrograms, listPinnedLinks, listPinnedMaps, readMeta, readPods } from './inspect.ts';
import { type NodeObjects, Objects } from './objects.ts';
import { findPins } from './pin_tree.ts';
import { Pins } from './pins.ts';

const SIZES = { pods: 16, policies: 16, rules: 64, handshakes: 64, connections: 64 };
const COOKIE = 4242n;

/** What an agent leaves behind: maps, cgroup links, a pod's inbound link, and nobody who holds them. */
async function leavePins(bpffs: TestBpffs, cgroup: string, netns: string): Promise<NodeObjects> {
  const pins = new Pins(bpffs.path);
  pins.prepare();
  const loader = new Objects(builtObjects(), pins, SIZES);
  const objects = await loader.loadNode();
  for (const [name, program] of Object.entries(objects.connect.programs)) {
    using link = Link.attachCgroup(program, { cgroup });
    link.pin(pins.link(name));
  }
  using inbound = await loader.loadInbound();
  pins.preparePod(COOKIE);
  for (const program of Object.values(inbound.programs)) {
    using link = Link.attachNetns(program, { netns });
    link.pin(pins.inbound(COOKIE));
  }
  return objects;
}

/** Other instances may live on this machine: only what these pins hold is judged. */
function ownOf(left: Leftover[], ids: Set<string>): string[] {
  return left.map(({ kind, id }) => `${kind} ${id}`).filter((name) => ids.has(name));
}

function idsOf(bpffs: string): Set<string> {
  const links = listPinnedLinks(bpffs);
  return new Set([
    ...links.map(({ linkId }) => `link ${linkId}`),
    ...links.map(({ programId }) => `program ${programId}`),
    ...listPinnedMaps(bpffs).map(({ mapId }) => `map ${mapId}`),
  ]);
}

describe('cleanup', () => {
  it('finds every pin, removes attachments before maps, and nothing of it is left in the kernel', async () => {
    using bpffs = testBpffs();
    using cgroup = testCgroup('cleanup');
    using netns = testNetns('cleanup');
    const pins = new Pins(bpffs.path);
    (await leavePins(bpffs, cgroup.path, netns.path))[Symbol.dispose]();
    const ids = idsOf(bpffs.path);
    assert.ok(ids.size > 10);
    assert.deepEqual(new Set(ownOf(findLeftovers(bpffs.path), ids)), ids);

    const found = findPins(bpffs.path);
    assert.equal(found[0]?.path, pins.inbound(COOKIE));
    const kinds = found.map(({ kind }) => kind);
    assert.ok(kinds.lastIndexOf('link') < kinds.indexOf('map'));
    assert.ok(kinds.lastIndexOf('map') < kinds.indexOf('directory'));
    assert.equal(found.at(-1)?.path, pins.root);

    for (const pin of found) removePin(pin);
    assert.equal(existsSync(pins.root), false);
    let left = ownOf(await waitClean(bpffs.path, 100), ids);
    for (const end = performance.now() + 10_000; left.length > 0 && performance.now() < end; ) {
      left = ownOf(await waitClean(bpffs.path, 100), ids);
    }
    assert.deepEqual(left, []);
  });

  it('does nothing, and fails at nothing, where all is gone', () => {
    using bpffs = testBpffs();
    assert.deepEqual(findPins(bpffs.path), []);
    removePin({ kind: 'link', path: join(bpffs.path, 'shunt', 'links', 'gone') });
    removePin({ kind: 'map', path: join(bpffs.path, 'shunt', 'maps', 'gone') });
    removePin({ kind: 'directory', path: join(bpffs.path, 'shunt') });
  });

  it('takes strays along: pins and directories that it does not know', () => {
    using bpffs = testBpffs();
    const pins = new Pins(bpffs.path);
    pins.prepare();
    mkdirSync(join(pins.podsRoot, 'not-a-cookie'));
    for (const found of findPins(bpffs.path)) removePin(found);
    assert.equal(existsSync(pins.root), false);
  });

  it('detaches a link at once although a process still holds it, and names that process', async () => {
    using bpffs = testBpffs();
    using cgroup = testCgroup('held');
    using netns = testNetns('held');
    using objects = await leavePins(bpffs, cgroup.path, netns.path);
    const path = new Pins(bpffs.path).link('connect4');
    using held = Link.fromPin(path);
    const ids = idsOf(bpffs.path);
    for (const pin of findPins(bpffs.path)) removePin(pin);
    assert.equal(held.info().attached, false);

    const left = (await waitClean(bpffs.path, 200)).filter(({ kind, id }) => ids.has(`${kind} ${id}`));
    const link = left.find(({ kind, id }) => kind === 'link' && id === held.id);
    assert.ok(
      link?.heldBy.some((holder) => holder.endsWith(`[${process.pid}]`)),
      JSON.stringify(link),
    );
    const map = left.find(({ kind, id }) => kind === 'map' && id === objects.connect.maps.shunt_pods.id);
    assert.ok(map?.heldBy.some((holder) => holder.endsWith(`[${process.pid}]`)));
  });
});

describe('what the pins tell without an agent', () => {
  it('names links with their cgroup or namespace, their programs, and the pods', async () => {
    using bpffs = testBpffs();
    using cgroup = testCgroup('inspect');
    using netns = testNetns('inspect');
    using objects = await leavePins(bpffs, cgroup.path, netns.path);
    const links = listPinnedLinks(bpffs.path);
    const connect4 = links.find(({ name }) => name === 'connect4');
    assert.deepEqual(
      { ...connect4, linkId: 0, programId: 0 },
      {
        name: 'connect4',
        type: 'cgroup',
        attachType: 'cgroup_inet4_connect',
        target: cgroup.path,
        attached: true,
        program: 'shunt_connect4',
        linkId: 0,
        programId: 0,
        path: new Pins(bpffs.path).link('connect4'),
      },
    );
    const inbound = links.find(({ name }) => name === `${COOKIE}/inbound`);
    assert.match(inbound?.target ?? '', /^netns:\[\d+\]$/);
    const program = listOwnPrograms(bpffs.path).find(({ programId }) => programId === connect4?.programId);
    assert.deepEqual(program?.links, ['connect4']);
    assert.ok(Math.abs(Date.parse(program?.loadedAt ?? '') - Date.now()) < 60_000);

    assert.equal(readMeta(bpffs.path)?.layout, 0);
    assert.deepEqual(readPods(bpffs.path), []);
    objects.connect.maps.shunt_pods.set(COOKIE, {
      ip4: { bytes: new Uint8Array(16) },
      ip6: { bytes: new Uint8Array(16).fill(1) },
      policy: 1,
      outbound_port: 1,
      inbound_port: 2,
      flags: PodFlags.POD_HAS_IP6,
      sidecar_cgroup_level: 0,
      sidecar_cgroup: 0n,
    });
    const [pod] = readPods(bpffs.path);
    assert.deepEqual(
      { ...pod, counters: {} },
      {
        cookie: COOKIE,
        ip4: null,
        ip6: '101:101:101:101:101:101:101:101',
        inbound: true,
        listeners: { ip4: 0, ip6: 0 },
        acceleration: 'off',
        counters: {},
        identity: 'uid',
      },
    );
  });

  it('tells a link whose cgroup is gone from one that holds', async () => {
    using bpffs = testBpffs();
    using netns = testNetns('gone');
    {
      using cgroup = testCgroup('gone');
      (await leavePins(bpffs, cgroup.path, netns.path))[Symbol.dispose]();
    }
    const found = () => listPinnedLinks(bpffs.path).find(({ name }) => name === 'connect4');
    // The kernel takes a removed cgroup's attachments down from a work queue.
    for (const end = performance.now() + 10_000; found()?.attached && performance.now() < end; )
      await delay(5);
    const connect4 = found();
    assert.deepEqual([connect4?.attached, connect4?.target], [false, null]);
    for (const pin of findPins(bpffs.path)) removePin(pin);
    assert.equal(existsSync(new Pins(bpffs.path).root), false);
  });
});
