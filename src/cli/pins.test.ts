import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Link } from 'libbpf-ts';
import { type TestBpffs, testBpffs } from '../../test/fixtures/bpffs.ts';
import { type CliResult, runCli } from '../../test/fixtures/cli.ts';
import { type TestCgroup, testCgroup } from '../../test/fixtures/kernel.ts';
import type { StatusReport } from '../agent/api.ts';
import { lockDirectory } from '../agent/lock.ts';
import { serveApi } from '../agent/server.ts';
import { builtObjects } from '../datapath/ebpf/compile.ts';
import { PodFlags } from '../datapath/ebpf/gen/objects.ts';
import { listPinnedLinks, listPinnedMaps } from '../datapath/ebpf/inspect.ts';
import { LAYOUT_VERSION, type NodeObjects, Objects } from '../datapath/ebpf/objects.ts';
import { Pins } from '../datapath/ebpf/pins.ts';
import { addr } from '../datapath/ebpf/pod_value.ts';
import { VERSION } from '../version.ts';

const STATUS: StatusReport = {
  version: VERSION,
  pid: process.pid,
  startedAt: '2026-01-01T00:00:00Z',
  backend: 'ebpf',
  tier: { tier: 3, name: 'outbound and inbound by eBPF, with acceleration', limit: null },
  backendReason: 'the kernel runs it',
  cgroup: '/x',
  bpffs: '/x',
  source: { kind: 'files', path: '/x', manifests: 0, rejected: [] },
  settings: { path: null, error: null },
  adopted: { links: 0, pods: 0 },
  drift: { checkedAt: '2026-01-01T00:00:00Z', repaired: [], outstanding: [] },
  acceleration: { enabled: false, reason: 'off' },
  pods: { enrolled: 0, left: 0, failed: 0 },
  enrolledBy: { ebpf: 0, iptables: 0 },
  links: [],
  maps: [],
};

const COOKIE = 9007199254740993n;

describe('commands without an agent', () => {
  let bpffs: TestBpffs;
  let cgroup: TestCgroup;
  let directory: string;
  let socket: string;
  let pins: Pins;

  beforeEach(async () => {
    bpffs = testBpffs();
    cgroup = testCgroup('cli');
    directory = mkdtempSync(join(tmpdir(), 'shunt-cli-'));
    socket = join(directory, 'agent.sock');
    pins = new Pins(bpffs.path);
    pins.prepare();
    using objects = await new Objects(builtObjects(), pins, {
      pods: 16,
      policies: 16,
      rules: 64,
      handshakes: 64,
      connections: 64,
    }).loadNode();
    fill(objects);
    for (const [name, program] of Object.entries(objects.connect.programs)) {
      using link = Link.attachCgroup(program, { cgroup: cgroup.path });
      link.pin(pins.link(name));
    }
  });
  afterEach(() => {
    bpffs[Symbol.dispose]();
    cgroup[Symbol.dispose]();
    rmSync(directory, { recursive: true });
  });

  function fill({ connect }: NodeObjects): void {
    connect.maps.shunt_meta.set(0, {
      layout: LAYOUT_VERSION,
      pad: 0,
      cgroup_id: 1n,
      agent_version: VERSION,
      cgroup_path: cgroup.path,
    });
    connect.maps.shunt_counters.setZero(COOKIE);
    connect.maps.shunt_pods.set(COOKIE, {
      ip4: addr('10.0.0.1'),
      ip6: addr('::'),
      policy: 1,
      outbound_port: 15001,
      inbound_port: 15006,
      flags: PodFlags.POD_HAS_IP4,
      sidecar_cgroup_level: 0,
      sidecar_cgroup: 0n,
    });
  }

  const run = (...args: string[]): Promise<CliResult> =>
    runCli([...args, '--bpffs', bpffs.path], { env: { SHUNT_SOCKET: socket } });

  it('map dump prints entries with their keys, for people and as JSON', async () => {
    const json = await run('map', 'dump', 'pods', '-o', 'json');
    assert.equal(json.code, 0, json.stderr);
    assert.deepEqual(JSON.parse(json.stdout), [
      {
        key: String(COOKIE),
        value: {
          ip4: '10.0.0.1',
          ip6: '::',
          policy: 1,
          outbound_port: 15001,
          inbound_port: 15006,
          flags: 'POD_HAS_IP4',
          sidecar_cgroup_level: 0,
          sidecar_cgroup: '0',
        },
      },
    ]);
    const table = (await run('map', 'dump', 'pods')).stdout.split('\n');
    assert.match(table[0] ?? '', /^KEY +IP4 +IP6 +POLICY +OUTBOUND PORT +INBOUND PORT +FLAGS /);
    assert.match(table[1] ?? '', /^9007199254740993 +10\.0\.0\.1 +:: +1 +15001 +15006 +POD_HAS_IP4 /);
    assert.equal((await run('map', 'dump', 'pods', '-o', 'name')).stdout, `pods/${COOKIE}\n`);
  });

  it('map dump adds the CPUs up for people and keeps them apart in JSON', async () => {
    const [entry] = JSON.parse((await run('map', 'dump', 'counters', '-o', 'json')).stdout);
    assert.ok(Array.isArray(entry.value));
    assert.match((await run('map', 'dump', 'counters')).stdout, /^KEY +VALUES\n9007199254740993 +\[0, 0/);
  });

  it('map get finds one entry, and fails on none, on a bad key and on a map that is not there', async () => {
    const found = await run('map', 'get', 'pods', String(COOKIE), '-o', 'json');
    assert.equal(JSON.parse(found.stdout).key, String(COOKIE));
    for (const [args, code] of [
      [['pods', '1'], 'SHUNT_E_MAP_NO_ENTRY'],
      [['pods', 'x'], 'SHUNT_E_MAP_KEY'],
      [['nothing', '1'], 'SHUNT_E_MAP_UNKNOWN'],
      [['events', '1'], 'SHUNT_E_MAP_NOT_WALKABLE'],
    ] as const) {
      const failed = await run('map', 'get', ...args);
      assert.equal(failed.code, 1);
      assert.ok(failed.stderr.includes(`[${code}]`), failed.stderr);
    }
  });

  it('map list, link list and prog list show what is pinned', async () => {
    const maps = JSON.parse((await run('map', 'list', '-o', 'json')).stdout);
    const pods = maps.find(({ name }: { name: string }) => name === 'pods');
    assert.deepEqual([pods.type, pods.entries, pods.capacity, pods.valueType], ['hash', 1, 16, 'struct pod']);
    const links = JSON.parse((await run('link', 'list', '-o', 'json')).stdout);
    assert.deepEqual(
      links.map(({ name, target, attached }: { name: string; target: string; attached: boolean }) => [
        name,
        target,
        attached,
      ]),
      pins.linkNames().map((name) => [name, cgroup.path, true]),
    );
    const programs = JSON.parse((await run('prog', 'list', '-o', 'json')).stdout);
    assert.ok(programs.some(({ links: held }: { links: string[] }) => held.includes('connect4')));
  });

  it('status and pod list tell what the pins hold, and that no agent runs', async () => {
    const status = JSON.parse((await run('status', '-o', 'json')).stdout);
    assert.deepEqual(
      [status.running, status.version, status.layout, status.cgroup, status.pods],
      [false, VERSION, LAYOUT_VERSION, cgroup.path, { enrolled: 1 }],
    );
    assert.match((await run('status')).stdout, /^Agent: +not running$/m);
    const list = await run('pod', 'list');
    assert.match(list.stderr, /agent: not running/);
    assert.match(list.stdout, /9007199254740993/);
    const [pod] = JSON.parse((await run('pod', 'list', '-o', 'json')).stdout);
    assert.deepEqual(
      [pod.name, pod.state, pod.identity, pod.held.cookie],
      [null, 'enrolled', 'uid', String(COOKIE)],
    );
    assert.equal((await run('pod', 'get', String(COOKIE))).code, 0);
  });

  it('cleanup --dry-run changes nothing, cleanup leaves nothing, and a second one has nothing to do', async () => {
    const planned = JSON.parse((await run('cleanup', '--dry-run', '-o', 'json')).stdout);
    assert.equal(planned.dryRun, true);
    assert.equal(pins.linkNames().length > 0, true);
    const verify = await run('cleanup', '--verify', '-o', 'json');
    assert.equal(verify.code, 1);
    assert.equal(JSON.parse(verify.stdout).clean, false);
    assert.match(verify.stderr, /SHUNT_E_CLEANUP_LEFT/);

    const ids = [
      ...listPinnedLinks(bpffs.path).map(({ linkId }) => `link ${linkId}`),
      ...listPinnedMaps(bpffs.path).map(({ mapId }) => `map ${mapId}`),
    ];
    const done = JSON.parse((await run('cleanup', '-o', 'json')).stdout);
    assert.deepEqual(done.removed, planned.removed);
    assert.equal(existsSync(pins.root), false);

    // Other instances of Shunt may live on this machine; of this one nothing may be left.
    const { left } = JSON.parse((await run('cleanup', '--verify', '-o', 'json')).stdout);
    const names = left.map(({ kind, id }: { kind: string; id: number }) => `${kind} ${id}`);
    assert.deepEqual(
      ids.filter((id) => names.includes(id)),
      [],
    );
    assert.ok(!left.some(({ kind }: { kind: string }) => kind === 'pin'));

    const again = await run('cleanup');
    assert.deepEqual([again.code, again.stdout, again.stderr], [0, '', 'nothing to remove\n']);
  });

  it('cleanup touches nothing while a process that does not answer holds the pins', async () => {
    using _lock = lockDirectory(pins.root);
    const { code, stderr } = await run('cleanup');
    assert.equal(code, 1);
    assert.match(stderr, /\[SHUNT_E_AGENT_STAYS\]\nfix: name its socket with --socket/);
    assert.equal(
      listPinnedLinks(bpffs.path).every(({ attached }) => attached),
      true,
    );
  });

  /** An agent as far as cleanup sees one: it answers on the socket, holds the lock, and stops when asked. */
  async function withAgent(of: string, work: () => Promise<void>): Promise<void> {
    const stop = new AbortController();
    using lock = new DisposableStack();
    if (of === bpffs.path) lock.use(lockDirectory(pins.root));
    const unused = () => assert.fail('cleanup asks for nothing else');
    await using _server = await serveApi({
      socket,
      signal: stop.signal,
      log: { info() {}, warn() {} },
      handlers: {
        status: () => ({ ...STATUS, bpffs: of }),
        stop: () => {
          lock.dispose();
          stop.abort();
        },
        pods: unused,
        reconcile: unused,
        setAcceleration: unused,
      },
    });
    await work();
  }

  it('cleanup asks the agent of these pins to stop, and waits until it has', async () => {
    await withAgent(bpffs.path, async () => {
      const { code, stdout } = await run('cleanup', '-o', 'json');
      assert.equal(code, 0);
      assert.deepEqual(JSON.parse(stdout).removed[0], { kind: 'agent', path: socket });
    });
    assert.deepEqual([existsSync(socket), existsSync(pins.root)], [false, false]);
  });

  it('cleanup leaves an agent of other pins alone, and its socket', async () => {
    await withAgent('/sys/fs/bpf/elsewhere', async () => {
      const { code, stderr } = await run('cleanup');
      assert.equal(code, 0);
      assert.match(stderr, /works on \/sys\/fs\/bpf\/elsewhere; it is left alone/);
      assert.deepEqual([existsSync(socket), existsSync(pins.root)], [true, false]);
    });
  });

  it('cleanup removes the socket of an agent that was killed', async () => {
    const dead = createServer().listen(`${socket}.listening`);
    await once(dead, 'listening');
    // Moved, so that closing the listener does not remove it: what SIGKILL leaves.
    renameSync(`${socket}.listening`, socket);
    dead.close();
    await once(dead, 'close');
    const { code } = await run('cleanup');
    assert.equal(code, 0);
    assert.equal(existsSync(socket), false);
  });
});
