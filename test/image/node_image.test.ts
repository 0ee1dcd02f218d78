/**
 * The agent out of the image that `npm run image` made, run by runc with the DaemonSet's capabilities, mounts, limits
 * and read-only root, and nothing else: it captures, goes, and is cleaned up after.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CAPABILITIES } from '../../src/cli/doctor/capabilities.ts';
import { ShuntError } from '../../src/errors.ts';
import { until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { Lab } from '../../src/lab/lab.ts';
import { SIDECARS, type SidecarKind } from '../../src/lab/sidecar.ts';
import { imageArchive } from './archive.ts';
import { type AgentPlace, ImageBed } from './bed.ts';
import type { Container } from './container.ts';

/** Envoy, unless it could not be fetched. */
function sidecar(): SidecarKind {
  try {
    SIDECARS.envoy.locate();
    return 'envoy';
  } catch {
    return 'haproxy';
  }
}

/** Who the application of pod b sees when that of pod a calls it. */
async function peerOf(lab: Lab): Promise<string> {
  const client = await lab.pod('a').client();
  await using connection = await client.connect({ host: lab.pod('b').address(4), port: APP_PORT });
  return (await connection.who()).peer;
}
const CONFLIST = '10-node.conflist';
const PRIMARY = { cniVersion: '1.0.0', name: 'node', plugins: [{ type: 'bridge' }] };
const BY_SIDECAR = /^127\.0\.0\.6:/;

function statusOf(pid: number, field: string): string {
  return new RegExp(`^${field}:\\s*(\\S+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
}

/** An agent that did not start at all says why in its log, as well. */
function unlessEnded(error: unknown): null {
  if (error instanceof ShuntError && error.code === 'SHUNT_E_LAB_PROCESS') return null;
  throw error;
}

const skip = imageArchive() === null && 'npm run test:image makes the image, and runs this';
describe('the image, with the capabilities of the manifest alone', { skip, timeout: 300_000 }, () => {
  const stack = new AsyncDisposableStack();
  let lab: Lab;
  let bed: ImageBed;
  let place: AgentPlace;
  before(async () => {
    bed = stack.use(new ImageBed('n'));
    const pods = ['a', 'b'].map((name) => ({ name, capture: 'shunt' as const }));
    lab = stack.use(await Lab.open({ prefix: bed.prefix, sidecar: sidecar(), pods }));
    place = { manifests: lab.manifests, cgroup: lab.cgroup };
    writeFileSync(join(bed.netDir, CONFLIST), JSON.stringify(PRIMARY));
  });
  after(() => stack.disposeAsync());

  const chain = (): string => readFileSync(join(bed.netDir, CONFLIST), 'utf8');

  async function enrolled(agent: Container): Promise<void> {
    const reports = await bed.reports(agent, 2);
    assert.deepEqual(
      reports.map(({ state, error }) => [state, error]),
      [
        ['enrolled', null],
        ['enrolled', null],
      ],
      agent.log(),
    );
  }

  it('captures both pods, and goes on when its container has ended', async (t) => {
    assert.doesNotMatch(await peerOf(lab), BY_SIDECAR, 'nothing captures yet');
    await using agent = await bed.startAgent(place);
    await enrolled(agent);
    assert.match(await peerOf(lab), BY_SIDECAR);

    const pid = await agent.pid();
    const [{ securityContext, startupProbe, readinessProbe, livenessProbe }] = bed.pod().containers;
    const named = securityContext.capabilities.add.length;
    const held = BigInt(`0x${statusOf(pid, 'CapEff')}`)
      .toString(2)
      .replaceAll('0', '').length;
    assert.equal(held, named, 'exactly so many capabilities');
    assert.equal(statusOf(pid, 'CapBnd'), statusOf(pid, 'CapEff'));
    assert.equal(statusOf(pid, 'NoNewPrivs'), '1');
    assert.match(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'), /^\S+ \S+ \S+ \S+ \/ ro\b/m);
    const status = await bed.client.status();
    assert.equal(status.backend, 'ebpf', status.backendReason);
    assert.equal(status.acceleration.enabled, true, status.acceleration.reason);
    assert.match(agent.exec('shunt', 'pod', 'list', '-o', 'name'), /pod-a/);
    if (bed.arguments(bed.pod().containers[0], place).includes('--metrics')) {
      for (const probe of [startupProbe, readinessProbe, livenessProbe]) {
        assert.ok(probe);
        const { host, port, path } = probe.httpGet;
        assert.equal((await fetch(`http://${host}:${port}${path}`)).status, 200, path);
      }
    }
    if (bed.knowsCni) {
      const chained = await until(() => (chain().includes('shunt') ? chain() : undefined), {
        what: 'the chain',
      });
      assert.match(chained, /"type": ?"bridge".*"type": ?"shunt-cni"/s);
      assert.deepEqual(readdirSync(join(bed.folder, 'bin')), ['shunt-cni']);
    }
    t.diagnostic(`agent with 2 pods: ${statusOf(pid, 'VmRSS')} kB resident`);

    assert.equal(await agent.stop(), 0, agent.log());
    assert.match(await peerOf(lab), BY_SIDECAR, 'enforcement outlives the agent');
  });

  it('adopts what an earlier container left', async () => {
    await using agent = await bed.startAgent(place);
    await enrolled(agent);
    const { adopted, drift } = await bed.client.status();
    assert.equal(adopted.pods, 2);
    assert.deepEqual(drift.outstanding, []);
    assert.match(await peerOf(lab), BY_SIDECAR);
  });

  it("is taken off the node by the cleanup manifest's container", async () => {
    bed.cleanUp();
    assert.deepEqual(readdirSync(bed.bpffs), []);
    assert.doesNotMatch(chain(), /shunt/);
    assert.doesNotMatch(await peerOf(lab), BY_SIDECAR);
  });

  it('redirects by iptables with them, too, and takes its rules away', async () => {
    {
      await using agent = await bed.startAgent(place, { more: ['--backend', 'iptables'] });
      await enrolled(agent);
      assert.match(await peerOf(lab), BY_SIDECAR);
      assert.match(await rulesOf(lab.pod('a').netns), /SHUNT_/);
      bed.cleanUp();
    }
    assert.doesNotMatch(await rulesOf(lab.pod('a').netns), /SHUNT_/);
    assert.doesNotMatch(await peerOf(lab), BY_SIDECAR);
  });

  /** What goes wrong without each of them, so that none is in the list for nothing. */
  const LACKING = [
    { without: ['SYS_ADMIN'], error: /SHUNT_E_NOT_ROOT/ },
    { without: ['SYS_PTRACE'], error: /cannot list its open files/ },
    { without: ['DAC_READ_SEARCH'], error: /cannot list its open files/ },
    { without: ['NET_ADMIN'], more: ['--backend', 'iptables'], error: /SHUNT_E_IPTABLES/ },
  ];
  for (const { without, more = [], error } of LACKING) {
    it(`needs ${without}: without it no pod is enrolled, and the error says why`, async () => {
      await using agent = await bed.startAgent(place, { without, more });
      const reports = await bed.reports(agent, 2).catch(unlessEnded);
      if (reports !== null) {
        const states = reports.map(({ state }) => state);
        assert.deepEqual(states, ['failed', 'failed']);
      }
      assert.match(agent.log(), error);
      await agent.stop();
      bed.cleanUp();
    });
  }

  it('needs NET_RAW for legacy iptables', () => {
    const argv = ['unshare', '--net', 'iptables-legacy', '-t', 'nat', '-S'];
    assert.equal(bed.runOnce({ argv }).code, 0);
    assert.match(bed.runOnce({ argv, without: ['NET_RAW'] }).output, /Permission denied/);
  });

  it('names every capability that `shunt doctor` looks for', () => {
    const [{ securityContext }] = bed.pod().containers;
    const missing = Object.keys(CAPABILITIES).filter(
      (name) => !securityContext.capabilities.add.includes(name),
    );
    assert.deepEqual(missing, []);
    assert.match(bed.runOnce({ args: ['doctor'] }).output, /CAP_SYS_PTRACE +ok/);
  });
});
