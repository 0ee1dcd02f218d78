import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { CLI, runCli } from '../../test/fixtures/cli.ts';
import type { PodReport, StatusReport } from '../agent/api.ts';
import { serveApi } from '../agent/server.ts';
import { ShuntError } from '../errors.ts';
import { basePolicy, type RedirectPolicy } from '../policy/policy.ts';
import type { SocketServer } from '../unix_socket.ts';

const NOWHERE = ['--socket', '/nonexistent/agent.sock', '--bpffs', '/nonexistent'];

describe('the command line', () => {
  it('prints its help, and that of a command, to stdout', async () => {
    const help = await runCli(['--help']);
    assert.equal(help.code, 0);
    for (const command of [
      'demo',
      'agent',
      'status',
      'doctor',
      'pod',
      'policy',
      'map',
      'link',
      'prog',
      'cleanup',
      'version',
    ]) {
      assert.match(help.stdout, new RegExp(`^  ${command} `, 'm'));
    }
    assert.equal(help.stderr, '');
    const ofCommand = await runCli(['help', 'map']);
    assert.equal(ofCommand.code, 0);
    assert.match(ofCommand.stdout, /dump <map>/);
  });

  it('ends with 2 and says what is wrong when the command line is', async () => {
    for (const [args, said] of [
      [['frobnicate'], /unknown command 'frobnicate'/],
      [['map', 'dump'], /missing required argument 'map'/],
      [['map', 'dump', 'a', 'b'], /too many arguments/],
      [['status', '-o', 'xml'], /'xml' is invalid/],
      [['agent', '--pods', 'x', '--max-pods', '0'], /whole number from 1/],
      [['agent', '--pods', 'x', '--backend', 'nft'], /'nft' is invalid/],
      [['iptables', 'render'], /'-f, --file <file>' not specified/],
      [['agent'], /--pods or --kubeconfig is needed/],
      [['agent', '--kubeconfig', 'k'], /--node-name is needed/],
      [['agent', '--kubeconfig', 'k', '--pods', 'p'], /exclude each other/],
      [['policy', 'show'], /give either a pod or a file/],
      [['cleanup', '--verify', '--dry-run'], /exclude each other/],
    ] as const) {
      const { code, stdout, stderr } = await runCli(args);
      assert.equal(code, 2, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, said);
      assert.match(stderr, /^error: .* \[SHUNT_E_USAGE\]\nfix: .+\n$/);
    }
  });

  it('shows the commands on stderr and ends with 2 when none is given', async () => {
    for (const args of [[], ['map']]) {
      const { code, stdout, stderr } = await runCli(args);
      assert.equal(code, 2);
      assert.equal(stdout, '');
      assert.match(stderr, /^Usage: shunt/);
    }
  });

  it('writes errors as JSON to stderr when JSON is asked for', async () => {
    for (const args of [
      ['pod', 'get', 'x', '-o', 'json', ...NOWHERE],
      ['-o=json', 'map', 'dump', 'pods', ...NOWHERE],
      ['map', 'dump', '--output', 'json'],
    ]) {
      const { code, stdout, stderr } = await runCli(args);
      assert.notEqual(code, 0);
      assert.equal(stdout, '');
      const { error } = JSON.parse(stderr);
      assert.deepEqual(Object.keys(error), ['code', 'message', 'fix']);
      assert.match(error.code, /^SHUNT_E_/);
    }
  });

  it('tells its versions in every form', async () => {
    const json = JSON.parse((await runCli(['version', '-o', 'json'])).stdout);
    assert.deepEqual(Object.keys(json), ['shunt', 'node', 'libbpf', 'kernel']);
    assert.equal((await runCli(['--version'])).stdout, `${json.shunt}\n`);
    assert.equal((await runCli(['version', '-o', 'name'])).stdout, `version/${json.shunt}\n`);
    assert.match((await runCli(['version', '-o', 'yaml'])).stdout, new RegExp(`^shunt: ${json.shunt}\n`));
    assert.match((await runCli(['version'])).stdout, new RegExp(`^Shunt: {4}${json.shunt}\n`));
  });

  it('colours only when asked to, and never with NO_COLOR', async () => {
    const colour = '\u001b[';
    const args = ['status', ...NOWHERE];
    assert.equal((await runCli(args)).stdout.includes(colour), false);
    assert.equal((await runCli(args, { env: { FORCE_COLOR: '1' } })).stdout.includes(colour), true);
    const both = await runCli(args, { env: { FORCE_COLOR: '1', NO_COLOR: '1' } });
    assert.equal(both.stdout.includes(colour), false);
  });

  it('is quiet when its reader goes away, and ends as if it had been read', async () => {
    const [file, ...rest] = CLI;
    const child = spawn(file, [...rest, 'help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    // Closed long before the process has started: its first write fails with EPIPE.
    child.stdout.destroy();
    const [stderr, [code, signal]] = await Promise.all([text(child.stderr), once(child, 'close')]);
    assert.deepEqual([stderr, code, signal], ['', 0, null]);
  });
});

describe('doctor', () => {
  it('judges this machine, with one fix for whatever is not ok', async () => {
    const { code, stdout } = await runCli(['doctor', '-o', 'json']);
    const findings: { check: string; level: string; detail: string; fix: string | null }[] =
      JSON.parse(stdout);
    for (const { check, level, detail, fix } of findings) {
      assert.ok(['ok', 'warn', 'fail'].includes(level), check);
      assert.notEqual(detail, '');
      assert.equal(fix === null, level === 'ok', check);
    }
    assert.equal(new Set(findings.map(({ check }) => check)).size, findings.length);
    assert.equal(code, findings.some(({ level }) => level === 'fail') ? 1 : 0);
    for (const check of ['kernel', 'bpffs', 'cgroup2', 'libbpf', 'CAP_BPF', 'sk_lookup']) {
      assert.ok(
        findings.some((finding) => finding.check === check),
        check,
      );
    }
  });

  it('fails where there is no BPF file system, and names the mount', async () => {
    const { code, stdout } = await runCli(['doctor', '--bpffs', '/tmp']);
    assert.equal(code, 1);
    assert.match(stdout, /^bpffs +fail +no BPF file system at \/tmp$/m);
    assert.match(stdout, /^fail: bpffs\n {2}fix: mount -t bpf bpf \/tmp$/m);
  });
});

describe('commands that ask the agent', () => {
  const stop = new AbortController();
  let directory: string;
  let socket: string;
  let server: SocketServer;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'shunt-cli-'));
    socket = join(directory, 'agent.sock');
    server = await serveApi({
      socket,
      signal: stop.signal,
      log: { info() {}, warn() {} },
      handlers: {
        status: () => STATUS,
        pods: () => PODS,
        reconcile: async () => ({ repaired: [], outstanding: [] }),
        setAcceleration: () => {
          throw new ShuntError('SHUNT_E_INTERNAL');
        },
        stop() {},
      },
    });
  });
  after(async () => {
    stop.abort();
    await server.closed;
    rmSync(directory, { recursive: true });
  });

  const ask = (...args: string[]) => runCli(args, { env: { SHUNT_SOCKET: socket } });

  it('list pods as kubectl would', async () => {
    const { code, stdout, stderr } = await ask('pod', 'list');
    assert.deepEqual([code, stderr], [0, '']);
    assert.equal(
      stdout,
      [
        'NAMESPACE   NAME      STATE      MESH     BACKEND   IP         REASON',
        'default     a         enrolled   istio    ebpf      10.0.0.2   <none>',
        'default     gateway   left       <none>   <none>    <none>     the pod is a gateway',
        'prod        a         failed     istio    ebpf      <none>     /run/netns/x: does not exist',
        '',
      ].join('\n'),
    );
  });

  it('add columns with -o wide and names with -o name', async () => {
    const wide = (await ask('pod', 'list', '-o', 'wide')).stdout;
    assert.match(wide, /NETNS COOKIE +IDENTITY +INBOUND +LISTENERS +ACCELERATION +REASON\n/);
    assert.match(wide, / fd00::2 +18446744073709551615 +cgroup +attached +1\+0 +outbound +<none>\n/);
    assert.equal(
      (await ask('pod', 'list', '-o', 'name')).stdout,
      'pod/default/a\npod/default/gateway\npod/prod/a\n',
    );
  });

  it('print what the agent said as JSON, 64-bit values as strings', async () => {
    const pods = JSON.parse((await ask('pod', 'list', '-o', 'json')).stdout);
    assert.equal(pods[0].held.counters.outboundRedirected, '9007199254740993');
    assert.deepEqual(pods[0].policy, istioPolicy);
    const status = JSON.parse((await ask('status', '-o', 'json')).stdout);
    assert.deepEqual(status, { running: true, ...STATUS });
  });

  it('show one pod in full by any of its names', async () => {
    for (const name of ['default/a', '18446744073709551615']) {
      const { code, stdout } = await ask('pod', 'get', name);
      assert.equal(code, 0);
      assert.match(stdout, /^Sidecar told by: {3}cgroup$/m);
      assert.match(stdout, /^Outbound ports excluded: +8080,9000-9010$/m);
      assert.match(stdout, /^outboundRedirected {3}9007199254740993$/m);
    }
  });

  it('do not guess between pods of one name, nor at none', async () => {
    const several = await ask('pod', 'get', 'a');
    assert.equal(several.code, 1);
    assert.match(several.stderr, /several pods have this name: default\/a, prod\/a \[SHUNT_E_POD_UNKNOWN\]/);
    assert.match(
      (await ask('pod', 'get', 'zzz')).stderr,
      /^error: zzz: no such pod .*\[SHUNT_E_POD_UNKNOWN\]\nfix: /,
    );
  });

  it('show the policy in force for a pod, or why there is none', async () => {
    const { stdout } = await ask('policy', 'show', 'default/a');
    assert.match(stdout, /^Verdict: +redirect$/m);
    assert.match(stdout, /^Outbound port: +15001$/m);
    const left = await ask('policy', 'show', 'gateway', '-o', 'json');
    assert.equal(JSON.parse(left.stdout)[0].reason, 'the pod is a gateway');
    assert.equal(left.code, 0);
  });

  it('show drift that is not repaired and manifests that were rejected', async () => {
    const { stdout } = await ask('status');
    assert.match(stdout, /^Agent: +running, pid 42, for \d+d/m);
    assert.match(stdout, /^Drift: +1 not repaired/m);
    assert.match(stdout, /^Not repaired: +link connect4 is gone$/m);
    assert.match(stdout, /^REJECTED FILE +CODE +WHY +FIX\nb\.yaml +SHUNT_E_MANIFEST_SYNTAX/m);
  });

  it('say that no agent answers, where only an agent knows', async () => {
    const { code, stderr } = await runCli(['policy', 'show', 'a', ...NOWHERE]);
    assert.equal(code, 1);
    assert.match(stderr, /\[SHUNT_E_AGENT_DOWN\]/);
  });
});

describe('policy show -f', () => {
  it('says of each pod what its mesh wants, from a file or from stdin', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'shunt-policy-'));
    try {
      const file = join(directory, 'pods.yaml');
      writeFileSync(file, MANIFESTS);
      const fromFile = await runCli(['policy', 'show', '-f', file, '-o', 'json']);
      assert.equal(fromFile.code, 0, fromFile.stderr);
      const answers = JSON.parse(fromFile.stdout);
      assert.deepEqual(
        answers.map(({ name, kind }: { name: string; kind: string }) => [name, kind]),
        [
          ['meshed', 'redirect'],
          ['plain', 'leave'],
        ],
      );
      assert.equal(answers[0].policy.ports.outbound, 15001);
      assert.notEqual(answers[1].reason, null);
      const fromStdin = await runCli(['policy', 'show', '-f', '-', '-o', 'json'], { input: MANIFESTS });
      assert.equal(fromStdin.stdout, fromFile.stdout);
      const table = await runCli(['policy', 'show', '-f', file]);
      assert.match(table.stdout, /^Pod: +default\/plain\nVerdict: +left alone\nReason: +\S/m);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("says the policy as rules in words, in the mesh's own order", async () => {
    const file = new URL('../../test/fixtures/kuma/cni-annotations.yaml', import.meta.url).pathname;
    const json = await runCli(['policy', 'show', '-f', file, '--rules', '-o', 'json']);
    assert.equal(json.code, 0, json.stderr);
    const [answer] = JSON.parse(json.stdout);
    assert.equal(answer.policy.mesh, 'kuma');
    assert.ok(answer.rules.length > 5);
    const { stdout } = await runCli(['policy', 'show', '-f', file, '--rules', '-o', 'wide']);
    const told = stdout.slice(stdout.indexOf('DIRECTION')).split('\n').slice(1, -1);
    assert.deepEqual(
      told.map((line) => line.split(/ {2,}/)),
      answer.rules.map(({ direction, when, then, rule }: Record<string, string>) => [
        direction,
        when,
        then,
        rule,
      ]),
    );
    const left = await runCli(['policy', 'show', '-f', '-', '--rules'], { input: MANIFESTS });
    assert.match(left.stdout, /^Verdict: +left alone\nReason: +\S/m);
  });

  it('fails on a file that is not there, not YAML, or holds no pod', async () => {
    assert.match((await runCli(['policy', 'show', '-f', '/nonexistent'])).stderr, /\[SHUNT_E_FILE\]/);
    assert.match(
      (await runCli(['policy', 'show', '-f', '-'], { input: '{a' })).stderr,
      /\[SHUNT_E_MANIFEST_SYNTAX\]/,
    );
    assert.match(
      (await runCli(['policy', 'show', '-f', '-'], { input: '' })).stderr,
      /there is no Pod in it/,
    );
  });

  it('ends with 1 and names annotation and value when the mesh rejects one', async () => {
    const input = MANIFESTS.replace(
      'annotations: {',
      'annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "80,x", ',
    );
    const { code, stdout } = await runCli(['policy', 'show', '-f', '-'], { input });
    assert.equal(code, 1);
    assert.match(stdout, /^Verdict: {3}rejected$/m);
    assert.match(stdout, /traffic\.sidecar\.istio\.io\/excludeOutboundPorts +80,x +\S/);
  });
});

const MANIFESTS = `
apiVersion: v1
kind: Pod
metadata:
  name: meshed
  annotations: {sidecar.istio.io/status: '{}'}
spec:
  containers:
    - {name: app, image: app}
    - {name: istio-proxy, image: proxy}
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec: {containers: [{name: app, image: app}]}
`;

const STATUS: StatusReport = {
  version: '0.1.0',
  pid: 42,
  startedAt: '2026-01-01T00:00:00Z',
  backend: 'ebpf',
  tier: { tier: 3, name: 'outbound and inbound by eBPF, with acceleration', limit: null },
  backendReason: 'the kernel runs it',
  cgroup: '/sys/fs/cgroup/kubepods',
  bpffs: '/sys/fs/bpf',
  source: {
    kind: 'files',
    path: '/etc/pods',
    manifests: 1,
    rejected: [{ file: 'b.yaml', code: 'SHUNT_E_MANIFEST_SYNTAX', message: 'not YAML', fix: 'mend it' }],
  },
  settings: { path: null, error: null },
  adopted: { links: 9, pods: 1 },
  drift: { checkedAt: '2026-01-01T00:00:01Z', repaired: [], outstanding: ['link connect4 is gone'] },
  acceleration: { enabled: true, reason: 'the canary passed' },
  pods: { enrolled: 1, left: 1, failed: 1 },
  enrolledBy: { ebpf: 1, iptables: 0 },
  links: [{ name: 'connect4', attachType: 'cgroup_inet4_connect', attached: true, linkId: 7, programId: 9 }],
  maps: [{ name: 'pods', type: 'hash', entries: 1, capacity: 4096 }],
};

const base = basePolicy(
  'istio',
  { proxyUids: [1337], proxyGids: [1337] },
  { outbound: 15_001, inbound: 15_006, tunnel: 15_008 },
);
const istioPolicy: RedirectPolicy = {
  ...base,
  outbound: {
    ...base.outbound,
    excludePorts: [
      { first: 8080, last: 8080 },
      { first: 9000, last: 9010 },
    ],
  },
};

const NO_POD = {
  reason: null,
  error: null,
  mesh: null,
  backend: null,
  backendReason: null,
  others: [],
  ip4: null,
  ip6: null,
  netns: null,
  identity: null,
  policy: null,
  held: null,
};

const PODS: PodReport[] = [
  {
    ...NO_POD,
    namespace: 'default',
    name: 'a',
    uid: 'default/a',
    state: 'enrolled',
    mesh: 'istio',
    backend: 'ebpf',
    backendReason: "the node's backend",
    others: [],
    ip4: '10.0.0.2',
    ip6: 'fd00::2',
    netns: { path: '/run/netns/a', cookie: '18446744073709551615' },
    identity: 'cgroup',
    policy: istioPolicy,
    held: {
      cookie: 18446744073709551615n,
      ip4: '10.0.0.2',
      ip6: 'fd00::2',
      inbound: true,
      listeners: { ip4: 1, ip6: 0 },
      acceleration: 'outbound',
      counters: { outboundRedirected: 9007199254740993n },
    },
  },
  {
    ...NO_POD,
    namespace: 'default',
    name: 'gateway',
    uid: 'g',
    state: 'left',
    reason: 'the pod is a gateway',
  },
  {
    ...NO_POD,
    namespace: 'prod',
    name: 'a',
    uid: 'p',
    state: 'failed',
    mesh: 'istio',
    backend: 'ebpf',
    backendReason: "the node's backend",
    others: [],
    error: { code: 'SHUNT_E_NETNS_MISSING', message: '/run/netns/x: does not exist', fix: 'start the pod' },
  },
];
