/** The chain under containerd's CRI: bridge, host-local and shunt, sandbox by sandbox. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until } from '../../../src/lab/deadline.ts';
import { OUTSIDE } from '../../../src/lab/topology.ts';
import { type BedPod, CniBed, SIDECAR_UID } from '../bed.ts';
import { Containerd, IMAGE } from './containerd.ts';
import type { SandboxConfig } from './cri.ts';

/** Where Debian and Ubuntu put containernetworking-plugins. */
const PLUGINS = '/usr/lib/cni';

describe('under containerd', () => {
  let bed: CniBed;
  let containerd: Containerd;
  let [netDir, binDir, ipam] = ['', '', ''];
  let agentOptions: string[] = [];
  before(async () => {
    bed = await CniBed.open('ctr', []);
    await bed.serveOutside();
    [netDir, binDir, ipam] = [join(bed.folder, 'net.d'), join(bed.folder, 'bin'), join(bed.folder, 'ipam')];
    agentOptions = ['--cni-net-dir', netDir, '--cni-bin-dir', binDir];
    mkdirSync(netDir);
    mkdirSync(binDir);
    for (const name of ['bridge', 'host-local', 'loopback']) cpSync(join(PLUGINS, name), join(binDir, name));
    const { node } = bed.topology;
    containerd = await Containerd.start({
      ...{ folder: bed.folder, netDir, binDir, netns: node.path },
      cgroup: bed.cgroupName.slice(1),
    });
    await bed.start(...agentOptions);
  });
  after(async () => {
    await containerd?.[Symbol.asyncDispose]();
    await bed?.[Symbol.asyncDispose]();
  });

  const pod = (name: string): Pick<BedPod, 'name' | 'uid'> => ({ name, uid: `uid-${name}` });
  const config = (name: string): SandboxConfig => ({
    name,
    uid: `uid-${name}`,
    cgroupParent: `${bed.cgroupName}/pod-${name}`,
    logDirectory: join(bed.folder, 'logs', name),
  });
  /** What a container of the pod sees when it connects to the host outside, as its first and only act. */
  const connecting = async (
    sandbox: string,
    name: string,
    container: string,
    uid: number,
  ): Promise<string> => {
    const args = ['connect', OUTSIDE.ip4, '8080'];
    await containerd.cri.run(sandbox, config(name), { name: container, image: IMAGE, args, uid });
    const file = join(bed.folder, 'logs', name, `${container}.log`);
    return await until(
      () => (existsSync(file) && /stdout F (.*)\n/.exec(readFileSync(file, 'utf8'))?.[1]) || undefined,
      { what: `the output of ${container}` },
    );
  };
  const leases = () =>
    existsSync(join(ipam, 'net')) ? readdirSync(join(ipam, 'net')).filter((n) => /^\d/.test(n)) : [];

  it('the entry that the agent puts into a new configuration is noticed by the runtime', async () => {
    const bridge = {
      ...{ type: 'bridge', bridge: 'ctr0', isGateway: true },
      ipam: {
        ...{ type: 'host-local', dataDir: ipam, ranges: [[{ subnet: '10.77.0.0/24' }]] },
        routes: [{ dst: '0.0.0.0/0' }],
      },
    };
    writeFileSync(
      join(netDir, '10-net.conflist'),
      JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [bridge] }),
    );
    await until(async () => (await containerd.cri.networkReady()) || undefined, { what: 'NetworkReady' });
    await until(
      () => readFileSync(join(netDir, '10-net.conflist'), 'utf8').includes('shunt-cni') || undefined,
      {
        what: 'our entry',
      },
    );
  });

  it('the first connection of the first container is denied; the sidecar uid and pods without a mesh pass', async () => {
    bed.write(pod('web'));
    bed.write(pod('plain'), { meshed: false });
    await bed.settled((pods) => pods.length === 2 || undefined);
    const web = await containerd.cri.runPodSandbox(config('web'));
    const plain = await containerd.cri.runPodSandbox(config('plain'));
    const enrolled = (await bed.client.pods()).find(({ name }) => name === 'web');
    assert.equal(enrolled?.state, 'enrolled');
    assert.match(enrolled?.ip4 ?? '', /^10\.77\.0\./);
    assert.equal(enrolled?.netns?.path, await containerd.cri.netns(web));
    assert.equal(await connecting(web, 'web', 'init', 10_001), 'refused');
    assert.equal(await connecting(web, 'web', 'init-as-sidecar', SIDECAR_UID), 'outside 8080');
    assert.equal(await connecting(plain, 'plain', 'app', 10_001), 'outside 8080');
    for (const sandbox of [web, plain]) {
      await containerd.cri.stopPodSandbox(sandbox);
      await containerd.cri.removePodSandbox(sandbox);
    }
    assert.deepEqual(
      (await bed.client.pods()).filter(({ held }) => held !== null),
      [],
    );
    assert.deepEqual(readdirSync(join(bed.folder, 'run', 'attachments')), []);
    assert.deepEqual(leases(), []);
  });

  it('a pod that is refused leaves nothing: no address, no record, nothing in force', async () => {
    bed.write(pod('bad'), { annotations: { 'traffic.sidecar.istio.io/excludeOutboundPorts': 'many' } });
    await bed.settled((pods) => pods.find(({ name }) => name === 'bad'));
    await assert.rejects(containerd.cri.runPodSandbox(config('bad')), /shunt.*SHUNT_E_MESH_REJECTED/);
    assert.deepEqual(leases(), []);
    assert.deepEqual(readdirSync(join(bed.folder, 'run', 'attachments')), []);
  });

  it('while the agent is away, meshed pods are put off and known others start; then all do', async () => {
    await bed.stop('SIGKILL');
    await assert.rejects(containerd.cri.runPodSandbox(config('web')), /no agent answers on/);
    const plain = await containerd.cri.runPodSandbox(config('plain'));
    assert.equal(await connecting(plain, 'plain', 'again', 10_001), 'outside 8080');
    await bed.start(...agentOptions);
    const web = await containerd.cri.runPodSandbox(config('web'));
    assert.equal(await connecting(web, 'web', 'again', 10_001), 'refused');
    await bed.stop('SIGKILL');
    assert.equal(await connecting(web, 'web', 'third', 10_001), 'refused', 'in force without an agent');
    for (const sandbox of [web, plain]) {
      await containerd.cri.stopPodSandbox(sandbox);
      await containerd.cri.removePodSandbox(sandbox);
    }
    await bed.start(...agentOptions);
    await bed.client.reconcile();
    assert.deepEqual(
      (await bed.client.pods()).filter(({ held }) => held !== null),
      [],
      'the DELs that nobody heard',
    );
  });
});
