import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { AgentClient } from '../../src/agent/client.ts';
import type { DemoReport } from '../../src/cli/demo/demo.ts';
import { cgroup2Mount } from '../../src/lab/cgroup.ts';
import { attempt } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';
import { netnsOf } from '../../src/lab/topology.ts';
import { testBpffs } from '../fixtures/bpffs.ts';
import { CLI } from '../fixtures/cli.ts';

const PREFIX = 'shunt-demo';
const bpffs = testBpffs();
const folder = mkdtempSync(join(tmpdir(), 'shunt-demo-test-'));
const SOCKET = join(folder, 'agent.sock');
const PLACE = ['--bpffs', bpffs.path, '--socket', SOCKET];

after(() => {
  bpffs[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function remains(): string[] {
  const cgroups = [PREFIX, `${PREFIX}-baseline`].map((name) => join(cgroup2Mount(), name));
  const places = [
    ...cgroups,
    `/run/shunt-lab/${PREFIX}`,
    `/var/tmp/${PREFIX}-programs`,
    join(bpffs.path, 'shunt'),
    SOCKET,
  ];
  return [...netnsOf(PREFIX), ...places.filter((place) => existsSync(place))];
}

/** The demo as a process that is still running. */
function startDemo(...args: string[]) {
  const [file, ...rest] = CLI;
  const child = spawn(file, [...rest, 'demo', ...args, ...PLACE], { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { out: '', err: '' };
  child.stdout.on('data', (text) => {
    said.out += text;
  });
  child.stderr.on('data', (text) => {
    said.err += text;
  });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const says = (stream: 'out' | 'err', pattern: RegExp): Promise<string> =>
    until(
      () => {
        if (child.exitCode !== null) throw new Error(`the demo ended early:\n${said.out}${said.err}`);
        return said[stream].match(pattern)?.[1];
      },
      { what: `the demo to say ${pattern}`, timeoutMs: 60_000 },
    );
  return { child, ended, said, says };
}

function envoySkip(): string | false {
  try {
    SIDECARS.envoy.locate();
    return false;
  } catch {
    return 'there is no Envoy on this machine';
  }
}

for (const sidecar of ['envoy', 'haproxy'] as const) {
  it(`shows everything as it should be with ${sidecar}, and leaves nothing`, {
    skip: sidecar === 'envoy' && envoySkip(),
  }, async () => {
    const demo = startDemo('-o', 'json', '--sidecar', sidecar);
    assert.equal(await demo.ended, 0, demo.said.out + demo.said.err);
    const report = JSON.parse(demo.said.out) as DemoReport;
    assert.equal(report.ok, true);
    assert.equal(report.sidecar, sidecar);
    const row = (name: string) => report.rows.find(({ scenario }) => scenario === name);
    assert.deepEqual(row('pod to pod')?.acceptedBy, ['sidecar-a', 'sidecar-b', 'app-b']);
    assert.deepEqual(row('pod to pod IPv6')?.acceptedBy, ['sidecar-a', 'sidecar-b', 'app-b']);
    assert.deepEqual(row('app posing as uid 1337')?.acceptedBy, ['sidecar-a', 'outside']);
    assert.deepEqual(row('sidecar stopped, in')?.acceptedBy, ['ECONNREFUSED']);
    assert.match(row('agent restarted')?.explanation ?? '', /adopted 2 pods and \d+ links.*no drift/);
    const paths = report.latency?.results.flatMap(({ lanes }) => lanes.map(({ path }) => path));
    assert.deepEqual(paths, ['iptables', 'shunt', 'iptables', 'shunt']);
    assert.deepEqual(remains(), []);
  });
}

it('ends with 1 when an expectation fails, and says which', async () => {
  const demo = startDemo('--sidecar', 'haproxy', '--no-latency');
  await demo.says('out', /^(outbound IPv6) /m);
  const rule = ['iptables', '-t', 'nat', '-A', 'OUTPUT', '-p', 'udp', '--dport', '9', '-j', 'RETURN'];
  const added = await attempt(['nsenter', `--net=/run/netns/${PREFIX}-a`, ...rule]);
  assert.equal(added.code, 0, added.stderr);
  assert.equal(await demo.ended, 1, demo.said.out + demo.said.err);
  assert.match(demo.said.out, /^iptables rules +.*FAILED$/m);
  assert.match(demo.said.out, /1 of \d+ FAILED/);
  assert.deepEqual(remains(), []);
});

it('takes everything down on SIGTERM, whatever it is doing', async () => {
  const moments = [/(building)/, /(agent \d+):/] as const;
  for (const moment of moments) {
    const demo = startDemo('--sidecar', 'haproxy', '--no-latency');
    await demo.says('err', moment);
    demo.child.kill('SIGTERM');
    assert.equal(await demo.ended, 128 + 15, demo.said.err);
    assert.deepEqual(remains(), []);
  }
  const demo = startDemo('--sidecar', 'haproxy', '--no-latency');
  await demo.says('out', /^(sidecar stopped, out) /m);
  demo.child.kill('SIGTERM');
  assert.equal(await demo.ended, 128 + 15, demo.said.err);
  assert.deepEqual(remains(), []);
});

it('removes what a demo that was killed left, and runs', async () => {
  const killed = startDemo('--sidecar', 'haproxy', '--no-latency');
  await killed.says('out', /^(outbound) /m);
  killed.child.kill('SIGKILL');
  await killed.ended;
  assert.ok(remains().includes(join(bpffs.path, 'shunt')));
  const next = startDemo('--sidecar', 'haproxy', '--no-latency');
  assert.equal(await next.ended, 0, next.said.out + next.said.err);
  assert.deepEqual(remains(), []);
});

it('keeps everything running with --keep, and its printed commands do what they say', async () => {
  const demo = startDemo('--sidecar', 'haproxy', '--no-latency', '--keep');
  await demo.says('err', /(until Ctrl-C)/);
  const sh = async (command: string) => {
    const result = await attempt(['sh', '-c', `${name}\n${command}`]);
    assert.equal(result.code, 0, `${command}\n${result.stdout}${result.stderr}`);
    return result.stdout;
  };
  const printed = (title: RegExp): string[] => {
    const section = demo.said.out.split('\n\n').find((part) => title.test(part.split('\n')[0] ?? ''));
    return section?.trim().split('\n').slice(1) ?? [];
  };

  const [name = 'false'] = printed(/a name for this CLI/);
  for (const command of printed(/no iptables rule/)) assert.equal(await sh(command), '');
  const dump =
    printed(/what the agent holds/).find((command) => command.includes('map dump pods')) ?? 'false';
  const entries = JSON.parse(await sh(dump)) as { key: string; value: { ip4: string } }[];
  assert.deepEqual(entries.map(({ value }) => value.ip4).sort(), ['10.88.0.10', '10.88.0.11']);
  assert.ok(
    entries.every(({ key }) => /^\d+$/.test(key)),
    'keyed by netns cookie',
  );

  const [curl = 'false'] = printed(/from pod a to pod b/);
  assert.match(await sh(curl), /"name":"b","peer":"127\.0\.0\.6:/);
  const [kill = 'false'] = printed(/kill the agent/);
  await sh(kill);
  assert.match(await sh(curl), /"name":"b","peer":"127\.0\.0\.6:/);

  const second = startDemo('--sidecar', 'haproxy');
  assert.equal(await second.ended, 1);
  assert.match(second.said.err, /SHUNT_E_LAB_IN_USE/);

  const [restart = 'false'] = printed(/start it again/);
  const agent = spawn('sh', ['-c', `${name}\n${restart}`], { stdio: 'ignore' });
  const gone = once(agent, 'exit');
  const status = await until(() => new AgentClient(SOCKET).status().catch(() => undefined), {
    what: 'the agent',
  });
  assert.equal(status.adopted.pods, 2);
  assert.deepEqual([...status.drift.repaired, ...status.drift.outstanding], []);
  assert.match(await sh(curl), /"name":"b","peer":"127\.0\.0\.6:/);

  const [cleanup = 'false'] = printed(/take Shunt off/);
  // `--verify` looks at the whole node, where other tests may run: here only what it removes counts.
  await sh(cleanup.split(' && ')[0] ?? 'false');
  await gone;
  assert.ok(!existsSync(join(bpffs.path, 'shunt')));
  const direct = JSON.parse(await sh(curl)) as { peer: string };
  assert.match(direct.peer, /^10\.88\.0\.10:/, 'without Shunt nothing captures');

  demo.child.kill('SIGINT');
  assert.equal(await demo.ended, 0, demo.said.err);
  assert.deepEqual(remains(), []);
});
