/** A sidecar that listens with MPTCP, which eBPF cannot steer to: iptables has the pod, or whoever insists is told what to do. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PodReport } from '../../src/agent/api.ts';
import { run } from '../../src/lab/command.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { within } from '../../src/lab/topology.ts';
import { FaultBed } from '../faults/bed.ts';

const PORTS = { outbound: 15001, inbound: 15006 };
const skip = existsSync('/proc/sys/net/mptcp/enabled') ? false : 'the kernel has no MPTCP';

describe('a sidecar that listens with MPTCP', { skip }, () => {
  let bed: FaultBed;
  let program = '';
  let multipath: LabProcess | null = null;
  const folder = mkdtempSync(join(tmpdir(), 'shunt-multipath-'));
  before(async () => {
    await run(['chmod', '755', folder]);
    program = join(folder, 'multipath');
    const source = join(import.meta.dirname, 'multipath.c');
    await run(['clang', '-O2', '-Wall', '-Werror', '-o', program, source]);
    bed = await FaultBed.open('mptcp');
    await bed.start();
  });
  after(async () => {
    await multipath?.stop();
    await bed?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  async function replaceSidecar(): Promise<void> {
    const pod = bed.lab.pod('b');
    await pod.sidecar.stop();
    const argv = [program, String(PORTS.outbound), String(PORTS.inbound)] as const;
    const options = { place: pod.place('sidecar'), logFile: join(folder, 'multipath.log'), pipe: true };
    multipath = await LabProcess.start('multipath', argv, options);
    const ready = new Promise((resolve) => multipath?.stdout?.once('data', resolve));
    await Promise.race([ready, multipath.exited]);
    multipath.assertRunning();
  }

  const podB = (pods: readonly PodReport[]) => pods.find(({ name }) => name === 'pod-b');

  /** Which of its ports the sidecar says it was reached at, by somebody outside. */
  async function reached(): Promise<string> {
    const script = `exec 3<>/dev/tcp/${bed.lab.pod('b').address(4)}/80 && cat <&3`;
    return (await run(within(bed.lab.outside.netns, ['bash', '-c', script]))).trim();
  }

  it('has its pod moved to iptables as soon as it listens, and is then reached', async () => {
    await replaceSidecar();
    const { pods } = await bed.settled((_, pods) => podB(pods)?.backend === 'iptables');
    assert.equal(podB(pods)?.state, 'enrolled');
    const reason = podB(pods)?.backendReason ?? '';
    assert.equal(reason, "eBPF cannot follow the sidecar's MPTCP listener on port 15006");
    await bed.client.reconcile();
    const told = bed.log().filter(({ event, reason: why }) => event === 'pod-backend' && why === reason);
    assert.equal(told.length, 1);
    assert.equal(await reached(), String(PORTS.inbound));
  });

  it('is reached by iptables from the start where it is older than the agent', async () => {
    await bed.stop();
    assert.equal((await bed.cli('cleanup')).code, 0);
    const status = await bed.start();
    assert.deepEqual(status.enrolledBy, { ebpf: 1, iptables: 1 });
    assert.equal(podB(await bed.client.pods())?.backend, 'iptables');
    assert.equal(await reached(), String(PORTS.inbound));
  });

  it('is refused with what to do where its pod asks for eBPF, and stays as it was', async () => {
    const manifest = bed.read('b.yaml');
    const asking = manifest.replace(/^( *)shunt\.dev\/netns:/m, '$1shunt.dev/backend: ebpf\n$&');
    const { pods } = await bed.write('b.yaml', asking, ({ pods }) => pods.failed === 1);
    assert.equal(podB(pods)?.error?.code, 'SHUNT_E_LISTENER_MPTCP');
    assert.match(podB(pods)?.error?.fix ?? '', /GODEBUG=multipathtcp=0.*shunt\.dev\/backend: iptables/);
    assert.equal(podB(pods)?.backend, 'iptables');
    assert.equal(await reached(), String(PORTS.inbound));
    await bed.write('b.yaml', manifest, ({ pods }) => pods.failed === 0);
  });

  it('leaves no listener open that another sidecar would share the port with', async () => {
    await multipath?.stop();
    // EADDRINUSE where a duplicate was kept.
    await bed.lab.pod('b').sidecar.start();
    await bed.client.reconcile();
    assert.equal(podB(await bed.client.pods())?.backend, 'ebpf');
    assert.ok(await bed.redirected());
  });
});
