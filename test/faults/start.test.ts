/** Whatever keeps an agent from starting: an error with a code and a fix, and nothing changed that was in force. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BpfMap, codec } from 'libbpf-ts';
import { compileObjects } from '../../src/datapath/ebpf/compile.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf/datapath.ts';
import { MetaCodec } from '../../src/datapath/ebpf/gen/objects.ts';
import { DEFAULT_SIZES, Objects } from '../../src/datapath/ebpf/objects.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { ShuntError } from '../../src/errors.ts';
import type { CommandResult } from '../../src/lab/command.ts';
import { patient, until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { resolveCgroup } from '../../src/pod/cgroup.ts';
import { inUserNamespace } from '../fixtures/user_namespace.ts';
import { ADOPTED, FaultBed } from './bed.ts';

type Refusal = Pick<CommandResult, 'stdout' | 'stderr'> & { code: number | null };

/** Code and fix are on standard error, and the exit code is 1. */
function assertRefused(result: Refusal, code: string): void {
  assert.equal(result.code, 1, result.stderr + result.stdout);
  assert.match(result.stderr, new RegExp(`\\[${code}\\]`));
  assert.match(result.stderr, /^fix: .+/m);
}

describe('an agent that cannot start', () => {
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('start');
    assert.equal((await bed.start()).pods.enrolled, 2);
    await bed.stop();
  });
  after(() => bed?.[Symbol.asyncDispose]());

  const cases: [string, () => Promise<Refusal>, string][] = [
    [
      'says that there is no BPF file system at the path',
      () => bed.refused(bed.agentArgv('--backend', 'ebpf', '--bpffs', bed.lab.folder)),
      'SHUNT_E_BPFFS_MISSING',
    ],
    [
      'says that the path of BPF file system does not exist',
      () => bed.refused(bed.agentArgv('--backend', 'ebpf', '--bpffs', '/sys/fs/bpf/shunt-nowhere')),
      'SHUNT_E_BPFFS_MISSING',
    ],
    [
      'says that cgroup v2 is not mounted',
      () => {
        const script = 'for m in $(findmnt -nrt cgroup2 -o TARGET); do umount -l "$m"; done; exec "$@"';
        return bed.refused(['unshare', '--mount', 'sh', '-c', script, 'sh', ...bed.agentArgv()]);
      },
      'SHUNT_E_CGROUP2_MISSING',
    ],
    [
      'says that the cgroup does not exist',
      () => bed.refused(bed.agentArgv('--cgroup', 'shunt-nowhere')),
      'SHUNT_E_CGROUP_MISSING',
    ],
    [
      'does not attach to the root cgroup',
      () => bed.refused(bed.agentArgv('--cgroup', join(bed.lab.cgroup, '..'))),
      'SHUNT_E_ATTACH_ROOT',
    ],
    [
      'says that the manifests cannot be read',
      () => bed.refused(bed.agentArgv('--pods', '/shunt-nowhere')),
      'SHUNT_E_PODS_PATH',
    ],
    [
      'says that it has no capability to use eBPF',
      () => bed.refused(['setpriv', '--bounding-set=-all', '--inh-caps=-all', ...bed.agentArgv()]),
      'SHUNT_E_NOT_ROOT',
    ],
    [
      'says that without CAP_SYS_ADMIN it enters no pod, whatever else it has',
      () => bed.refused(['setpriv', '--bounding-set=-sys_admin', ...bed.agentArgv()]),
      'SHUNT_E_NOT_ROOT',
    ],
    [
      'does not put rules beside what eBPF holds, where the kernel denies it eBPF',
      () => inUserNamespace(['timeout', String(patient(30)), ...bed.agentArgv()]),
      'SHUNT_E_BPF_DENIED',
    ],
  ];
  for (const [what, run, code] of cases) {
    it(`${what}: ${code}`, async () => {
      assertRefused(await run(), code);
      assert.ok(await bed.redirected(), 'pods enrolled before stay redirected');
    });
  }

  it('runs eBPF without CAP_BPF and CAP_PERFMON, for which CAP_SYS_ADMIN stands', async () => {
    const [file, ...args] = bed.agentArgv('--backend', 'auto');
    const drop = ['--bounding-set=-bpf,-perfmon', file, ...args];
    const agent = await LabProcess.start('agent', ['setpriv', ...drop], { logFile: bed.logFile });
    try {
      const status = await until(
        async () => {
          agent.assertRunning();
          return await bed.client.status().catch(() => undefined);
        },
        { what: 'the agent', timeoutMs: 30_000 },
      );
      assert.deepEqual([status.backend, status.pods.enrolled], ['ebpf', 2]);
    } finally {
      await agent.stop('SIGTERM', 10_000);
    }
  });

  it('says which libbpf it found and which it needs', async () => {
    const folder = join(bed.lab.folder, 'old-libbpf');
    mkdirSync(folder);
    const source = join(folder, 'old.c');
    writeFileSync(
      source,
      `unsigned libbpf_major_version(void) { return 0; }
       unsigned libbpf_minor_version(void) { return 8; }
       const char *libbpf_version_string(void) { return "v0.8"; }`,
    );
    execFileSync('clang', [
      '-shared',
      '-fPIC',
      '-Wl,-soname,libbpf.so.1',
      '-o',
      join(folder, 'libbpf.so.1'),
      source,
    ]);
    const result = await bed.refused(['env', `LD_LIBRARY_PATH=${folder}`, ...bed.agentArgv()]);
    assertRefused(result, 'SHUNT_E_LIBBPF');
    assert.match(result.stderr, /0\.8/);
    assert.match(result.stderr, /1\.1/);
  });

  it('refuses a second agent on the same pins', async () => {
    await bed.start();
    const second = await bed.refused(bed.agentArgv('--socket', join(bed.lab.folder, 'second.sock')));
    assertRefused(second, 'SHUNT_E_AGENT_RUNNING');
    assert.equal((await bed.client.status()).pods.enrolled, 2);
    await bed.stop();
  });

  it('refuses pins of another layout and leaves them as they are', async () => {
    using map = BpfMap.fromPin(join(bed.bpffs, 'shunt/maps/meta'), { key: codec.u32, value: MetaCodec });
    const own = map.get(0);
    assert.ok(own);
    map.set(0, { ...own, layout: own.layout + 1, agent_version: '9.9.9' });
    const result = await bed.refused(bed.agentArgv());
    assertRefused(result, 'SHUNT_E_PINS_VERSION');
    assert.match(result.stderr, /9\.9\.9/);
    assert.ok(await bed.redirected());
    map.set(0, own);
    const status = await bed.start();
    assert.deepEqual(status.adopted, ADOPTED);
    await bed.stop();
  });

  it('refuses pins without their description where something is in force', async () => {
    const meta = join(bed.bpffs, 'shunt/maps/meta');
    const away = join(bed.bpffs, 'meta-away');
    renameSync(meta, away);
    assertRefused(await bed.refused(bed.agentArgv()), 'SHUNT_E_PINS_VERSION');
    assert.ok(await bed.redirected());
    renameSync(away, meta);
  });

  it('starts over what an agent left that was killed while it pinned its first maps', async () => {
    assert.equal((await bed.cli('cleanup')).code, 0);
    const pins = new Pins(bed.bpffs);
    pins.prepare();
    (await new Objects(join(import.meta.dirname, '../../dist/bpf'), pins, DEFAULT_SIZES).loadNode())[
      Symbol.dispose
    ]();
    unlinkSync(pins.map('meta'));
    assert.equal((await bed.start()).pods.enrolled, 2);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('refuses pins that are attached to another cgroup', async () => {
    const other = join(bed.lab.cgroup, 'other');
    mkdirSync(other);
    assertRefused(await bed.refused(bed.agentArgv('--cgroup', other)), 'SHUNT_E_PINS_CGROUP');
    assert.ok(await bed.redirected());
  });

  it('shows what the verifier said when it rejects a program, and keeps what is in force', async () => {
    const source = join(bed.lab.folder, 'bad-bpf');
    cpSync(join(import.meta.dirname, '../../bpf'), source, { recursive: true });
    const file = join(source, 'listen.bpf.c');
    // An unchecked map value: compiles, and no verifier takes it.
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace('if (!pod || sk->type != SOCK_STREAM)', 'if (sk->type != SOCK_STREAM)'));
    const objects = await compileObjects(join(bed.lab.folder, 'bad-objects'), source);
    const options = {
      pins: new Pins(bed.bpffs),
      objectDirectory: objects,
      cgroup: resolveCgroup(bed.lab.cgroup),
      acceleration: true,
    };
    await assert.rejects(EbpfDatapath.start(options), (error: unknown) => {
      assert.ok(error instanceof ShuntError);
      assert.equal(error.code, 'SHUNT_E_LOAD');
      assert.match(error.message, /shunt_bind/);
      assert.match(error.message, /map_value_or_null/);
      return true;
    });
    assert.ok(await bed.redirected());
    // On a node without pins it leaves none.
    const empty = join('/sys/fs/bpf', `${bed.lab.prefix}-empty`);
    mkdirSync(empty);
    const pins = new Pins(empty);
    await assert.rejects(EbpfDatapath.start({ ...options, pins }));
    assert.deepEqual(pins.mapNames(), []);
    assert.deepEqual(pins.linkNames(), []);
    execFileSync('rm', ['-r', empty]);
  });

  it('enrolls what fits when a map is full, and says so of the rest', async () => {
    await bed.cli('cleanup');
    const status = await bed.start('--max-pods', '1');
    assert.deepEqual(status.pods, { enrolled: 1, left: 0, failed: 1 });
    const pods = await bed.client.pods();
    const full = pods.find((pod) => pod.state === 'failed');
    assert.equal(full?.error?.code, 'SHUNT_E_MAP_FULL');
    assert.match(full?.error?.fix ?? '', /--max-pods/);
    assert.equal(full?.held, null);
    assert.notEqual(pods.find((pod) => pod.state === 'enrolled')?.held, null);
    await bed.stop();
  });
});
