/** The agent with the iptables backend: two pods with real sidecars, judged by their connections. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { CGROUP_ANNOTATION } from '../../src/pod/cgroup.ts';
import { netnsInode } from '../../src/pod/netns.ts';
import { FaultBed } from '../faults/bed.ts';

describe('an agent with the iptables backend', () => {
  let bed: FaultBed;
  let deny = '';
  before(async () => {
    bed = await FaultBed.open('b-ipt');
    deny = join(bed.lab.programs, 'deny');
    execFileSync('clang', ['-Wall', '-Werror', '-o', deny, join(import.meta.dirname, 'deny.c')]);
  });
  after(() => bed?.[Symbol.asyncDispose]());

  it('sends connections through both sidecars, and says why it has this backend', async () => {
    const status = await bed.start('--backend', 'iptables');
    assert.deepEqual(
      [status.backend, status.backendReason, status.cgroup],
      ['iptables', 'asked for with --backend', null],
    );
    assert.deepEqual(status.pods, { enrolled: 2, left: 0, failed: 0 });
    assert.ok(await bed.redirected());
    const told = bed.log().filter(({ event }) => event === 'backend');
    assert.deepEqual(
      told.map(({ backend, reason }) => [backend, reason]),
      [['iptables', 'asked for with --backend']],
    );
  });

  it('takes what comes from outside through the sidecar as well', async () => {
    const b = bed.lab.pod('b');
    const client = await bed.lab.outside.client();
    await using connection = await client.connect({ host: b.address(4), port: APP_PORT });
    assert.match((await connection.who()).peer, /^127\.0\.0\.6:/);
  });

  it('repairs rules that somebody flushed, when it next looks', async () => {
    execFileSync('nsenter', [
      `--net=${bed.lab.pod('b').netns.path}`,
      '--',
      'iptables-nft',
      '-t',
      'nat',
      '-F',
    ]);
    assert.equal(await bed.redirected(), false);
    const { repaired } = await bed.client.reconcile();
    assert.deepEqual(repaired, ['default/pod-b: its IPv4 rules are not as they were applied']);
    assert.ok(await bed.redirected());
  });

  it('refuses a second agent in its run directory', async () => {
    const argv = bed.agentArgv('--backend', 'iptables', '--socket', join(bed.lab.folder, 'second.sock'));
    const second = await bed.refused(argv);
    assert.equal(second.code, 1);
    assert.match(second.stderr, /SHUNT_E_AGENT_RUNNING/);
  });

  it('leaves pods redirected when it is killed, and finds them again', async () => {
    await bed.stop('SIGKILL');
    assert.ok(await bed.redirected());
    const status = await bed.start('--backend', 'iptables');
    assert.equal(status.adopted.pods, 2);
    assert.deepEqual(status.drift.repaired, []);
    assert.ok(await bed.redirected());
  });

  it('leaves no rule in a pod whose manifest is taken away', async () => {
    const manifest = bed.read('a.yaml');
    await bed.remove('a.yaml', ({ pods }) => pods.enrolled === 1);
    assert.doesNotMatch(await rulesOf(bed.lab.pod('a').netns), /SHUNT_/);
    await bed.write('a.yaml', manifest, ({ pods }) => pods.enrolled === 2);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('is chosen where there is no BPF file system', async () => {
    const status = await bed.start('--bpffs', bed.lab.folder);
    assert.equal(status.backend, 'iptables');
    assert.match(status.backendReason, /^eBPF cannot be used: .*\[SHUNT_E_BPFFS_MISSING\]$/);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('is chosen where cgroup v2 is not mounted', async () => {
    // Where there are no cgroups no manifest names one.
    const pods = join(bed.lab.folder, 'without-cgroups');
    mkdirSync(pods);
    for (const file of readdirSync(bed.lab.manifests)) {
      const lines = bed.read(file).split('\n');
      writeFileSync(join(pods, file), lines.filter((line) => !line.includes(CGROUP_ANNOTATION)).join('\n'));
    }
    const script = 'for m in $(findmnt -nrt cgroup2 -o TARGET); do umount -l "$m"; done; exec "$@"';
    const status = await bed.startUnder(['unshare', '--mount', 'sh', '-c', script, 'sh'], '--pods', pods);
    assert.equal(status.backend, 'iptables');
    assert.match(status.backendReason, /^eBPF cannot be used: .*\[SHUNT_E_CGROUP2_MISSING\]$/);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('is chosen on a kernel without bpf_link, and leaves no pin', async () => {
    const status = await bed.startUnder([deny, 'link']);
    assert.equal(status.backend, 'iptables');
    assert.match(status.backendReason, /^eBPF cannot be used: .*\[SHUNT_E_ATTACH\]$/);
    const pins = new Pins(bed.bpffs);
    assert.deepEqual([...pins.mapNames(), ...pins.linkNames()], []);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('is chosen where the kernel denies eBPF', async () => {
    const status = await bed.startUnder([deny, 'bpf'], '--compile');
    assert.equal(status.backend, 'iptables');
    assert.match(status.backendReason, /^eBPF cannot be used: .*\[SHUNT_E_BPF_DENIED\]$/);
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('enrolls pods on a kernel that has no cookies of network namespaces', async () => {
    await bed.startUnder([deny, 'cookie'], '--backend', 'iptables');
    for (const { netns } of await bed.client.pods()) {
      assert.equal(netns?.cookie, String(netnsInode(netns?.path ?? '')), 'the inode stands for the cookie');
    }
    assert.ok(await bed.redirected());
    await bed.stop();
  });

  it('is cleaned up by `shunt cleanup`, which proves it', async () => {
    await bed.start('--backend', 'iptables');
    const before = await bed.cli('cleanup', '--verify', '-o', 'json');
    assert.match(before.stdout, /"kind": ?"rules"/);
    const cleaned = await bed.cli('cleanup');
    assert.equal(cleaned.code, 0, cleaned.stderr);
    for (const name of ['a', 'b']) assert.doesNotMatch(await rulesOf(bed.lab.pod(name).netns), /SHUNT_/);
    const after = await bed.cli('cleanup', '--verify', '-o', 'json');
    assert.doesNotMatch(after.stdout, /"kind": ?"rules"/);
  });
});
