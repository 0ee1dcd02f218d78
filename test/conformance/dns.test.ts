/** Queries of a pod of Kuma's, which takes all of port 53: under its own rules, under both backends, and under eBPF beside those rules. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../../src/lab/command.ts';
import { LabProcess } from '../../src/lab/process.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { Bed, type Contender } from './bed.ts';
import { identityOf } from './cases.ts';
import { type Family, MESHES, policyOf } from './meshes.ts';
import { compileProbe, serve as serveTcp } from './probe.ts';

const FAMILIES = [4, 6] as const;
const CONTENDERS = ['oracle', 'iptables', 'ebpf', 'beside'] as const satisfies readonly Contender[];
/** Nobody answers there: an answer is the mesh's. */
const SERVERS = { 4: ['192.0.2.53', '192.0.2.54', '192.0.2.55'], 6: ['2001:db8:2::53', '2001:db8:2::54'] };
const LOCALHOST = { 4: '127.0.0.1', 6: '::1' };
const RESOLVER_PORT = 15053;

/** Who is asked, of `SERVERS` or by localhost. */
type Server = 'first' | 'second' | 'localhost';
/** Whether the mesh's resolver answers over UDP, and who accepts over TCP. */
type Answer = readonly [udp: boolean, tcp: string];
const NOBODY = 'nobody';
const RESOLVER = `resolver:${RESOLVER_PORT}`;
const SIDECAR = 'sidecar:15001';

/** In the order of a mesh's rules, since that is where they differ. */
const MODES: readonly {
  what: string;
  mesh: string;
  dns: Partial<RedirectPolicy['dns']>;
  answers: Partial<Record<Server, Answer>>;
}[] = [
  {
    what: 'all queries, and none over TCP',
    mesh: 'kuma',
    dns: { mode: 'all', tcp: 'bypass' },
    answers: { first: [true, NOBODY], second: [true, NOBODY] },
  },
  {
    what: 'all queries, over TCP too',
    mesh: 'istio',
    dns: { mode: 'all', tcp: 'capture' },
    answers: { first: [true, RESOLVER], second: [true, RESOLVER] },
  },
  {
    what: 'all queries, and TCP is captured like any',
    mesh: 'istio',
    dns: { mode: 'all', tcp: 'as-other-tcp' },
    answers: { first: [true, SIDECAR] },
  },
  {
    what: 'queries to the servers listed, over TCP too',
    mesh: 'istio',
    dns: { mode: 'servers', tcp: 'capture' },
    answers: { first: [true, RESOLVER], second: [false, SIDECAR] },
  },
  {
    what: 'queries to the servers listed, and none over TCP',
    mesh: 'kuma',
    dns: { mode: 'servers', tcp: 'bypass' },
    answers: { first: [true, NOBODY], second: [false, NOBODY] },
  },
  {
    what: 'queries to localhost alone, over TCP too',
    mesh: 'consul',
    dns: { mode: 'localhost', tcp: 'capture' },
    answers: { localhost: [true, RESOLVER], first: [false, SIDECAR] },
  },
  { what: 'no queries', mesh: 'istio', dns: { mode: 'off' }, answers: { first: [false, SIDECAR] } },
];

describe('queries of a pod of kuma', () => {
  let bed: Bed;
  let program = '';
  const stack = new AsyncDisposableStack();

  before(async () => {
    const mesh = MESHES.find(({ name }) => name === 'kuma');
    assert.ok(mesh);
    bed = stack.use(await Bed.open(mesh, ['iptables', 'ebpf', 'beside']));
    assert.equal(bed.absent.size, 0);
    const folder = mkdtempSync(join(tmpdir(), 'shunt-dns-'));
    stack.defer(() => rmSync(folder, { recursive: true }));
    await run(['chmod', '755', folder]);
    program = join(folder, 'dns_probe');
    const source = join(import.meta.dirname, 'dns_probe.c');
    await run(['clang', '-O2', '-Wall', '-Werror', '-o', program, source]);
    const probe = await compileProbe(folder);
    const serve = async (name: string, where: string[], place: { netns: string }): Promise<void> => {
      const options = { place, logFile: join(folder, `${name}.log`), pipe: true };
      const server = stack.use(await LabProcess.start(name, [program, 'serve', name, ...where], options));
      assert.ok(server.stdout);
      await Promise.race([new Promise((resolve) => server.stdout?.once('data', resolve)), server.exited]);
      server.assertRunning();
    };
    for (const contender of CONTENDERS) {
      for (const family of FAMILIES) {
        const place = { ...bed.identity(contender, 'sidecar'), netns: bed.pod(contender).path };
        await serve('resolver', [LOCALHOST[family], String(RESOLVER_PORT)], place);
      }
      const place = { ...bed.identity(contender, 'sidecar'), netns: bed.pod(contender).path };
      const log = { place, logFile: join(folder, 'resolver-tcp.log') };
      stack.use(await serveTcp(probe, 'resolver', [`localhost:${RESOLVER_PORT}`], log));
    }
  });
  after(async () => await stack.disposeAsync());

  /** The pod's address and the client's port are named, so that pods can be compared. */
  async function ask(contender: Contender, who: 'app' | 'sidecar', how: string, servers: string[]) {
    const { uid, cgroup } = bed.identity(contender, who);
    const argv = [program, 'ask', how, join(cgroup, 'cgroup.procs'), String(uid), ...servers];
    const stdout = await run(['nsenter', `--net=${bed.pod(contender).path}`, ...argv]);
    const named = stdout
      .replaceAll(bed.address(contender, 4), 'pod')
      .replaceAll(bed.address(contender, 6), 'pod');
    return named
      .trimEnd()
      .replaceAll(/(answer=resolver \S+#)\d+/g, '$1client')
      .split('\n');
  }

  for (const family of FAMILIES) {
    const [one = '', two = '', three = one] = SERVERS[family];
    for (const contender of CONTENDERS) {
      describe(`over IPv${family}, ${contender === 'oracle' ? "the mesh's own rules" : contender}`, () => {
        it('answers a connected socket as the server it is connected to, from the pod', async () => {
          assert.deepEqual(await ask(contender, 'app', 'connected', [one]), [
            `from=${one}#53 peer=${one}#53 answer=resolver pod#client`,
          ]);
        });

        it('answers an unconnected socket as the server it asked, from the pod', async () => {
          assert.deepEqual(await ask(contender, 'app', 'unconnected', [one]), [
            `from=${one}#53 peer=none answer=resolver pod#client`,
          ]);
        });

        it('tells the answers of two servers apart that one socket asked', async () => {
          const lines = await ask(contender, 'app', 'unconnected', [one, two, one]);
          const from = lines.map((line) => line.split(' ')[0]);
          assert.deepEqual(from, [`from=${one}#53`, `from=${two}#53`, `from=${one}#53`]);
        });

        if (family === 4) {
          it('tells three apart, also on a socket of IPv6', async () => {
            const lines = await ask(contender, 'app', 'mapped', [one, two, three]);
            const from = lines.map((line) => line.split(' ')[0]);
            assert.deepEqual(
              from,
              [one, two, three].map((server) => `from=::ffff:${server}#53`),
            );
          });
        }

        it('follows a socket that connects to another server', async () => {
          const [, line = ''] = await ask(contender, 'app', 'connected', [one, two]);
          assert.match(line, new RegExp(`peer=${two}#53`));
        });

        it('tells servers apart that one sendmmsg asked', async () => {
          const lines = await ask(contender, 'app', 'at-once', [one, two, one]);
          const from = lines.map((line) => line.split(' ')[0]);
          assert.deepEqual(from, [`from=${one}#53`, `from=${two}#53`, `from=${one}#53`]);
        });

        it('lets a connected socket that asks another server hear nobody but its own', async () => {
          assert.deepEqual(await ask(contender, 'app', 'mixed', [one, two]), [
            `from=${one}#53 peer=${one}#53 answer=resolver pod#client`,
            `from=none peer=${one}#53 answer=`,
          ]);
        });

        it('lets a connected socket name its own server', async () => {
          const line = `from=${one}#53 peer=${one}#53 answer=resolver pod#client`;
          assert.deepEqual(await ask(contender, 'app', 'mixed', [one, one]), [line, line]);
        });

        // Over IPv6 the rules themselves leave such a socket without an answer.
        if (family === 4) {
          it('answers a socket that was connected to another server', async () => {
            assert.deepEqual(await ask(contender, 'app', 'parted', [one, two]), [
              `from=${two}#53 peer=none answer=resolver pod#client`,
            ]);
          });
        }

        it("lets the sidecar's own queries go where they go", async () => {
          const [line = ''] = await ask(contender, 'sidecar', 'unconnected', [one]);
          assert.equal(line, 'from=none peer=none answer=');
        });
      });
    }
  }

  function policyWith(mesh: string, dns: Partial<RedirectPolicy['dns']>): RedirectPolicy {
    const policy = policyOf(bed.mesh);
    const servers = dns.mode === 'servers' ? FAMILIES.flatMap((family) => SERVERS[family].slice(0, 1)) : [];
    return { ...policy, mesh, dns: { ...policy.dns, servers, ...dns } };
  }

  async function answerOf(
    contender: Contender,
    who: 'app' | 'sidecar',
    server: Server,
    family: Family,
  ): Promise<Answer> {
    const [first = '', second = ''] = SERVERS[family];
    const host = { first, second, localhost: LOCALHOST[family] }[server];
    const { landing } = await bed.connect(contender, {
      ...identityOf(who, bed.mesh),
      ...{ source: null, host, port: 53 },
    });
    const [line = ''] = await ask(contender, who, 'unconnected', [host]);
    const isAnswered = line.startsWith(`from=${host}#53 `);
    if (!isAnswered) assert.match(line, /^from=none /);
    return [isAnswered, landing.includes(':') ? landing : NOBODY];
  }

  for (const { what, mesh, dns, answers } of MODES)
    it(`are taken by the mode of the policy: ${what} (${mesh})`, async () => {
      await bed.enforce(policyWith(mesh, dns));
      const tried = (['iptables', 'ebpf'] as const).flatMap((contender) =>
        FAMILIES.flatMap((family) =>
          (Object.keys(answers) as Server[]).map((server) => ({ contender, family, server })),
        ),
      );
      const seen = await Promise.all(
        tried.map(async ({ contender, family, server }) => [
          ...[contender, family, server],
          ...(await answerOf(contender, 'app', server, family)),
        ]),
      );
      const wanted = tried.map(({ contender, family, server }) => [
        ...[contender, family, server],
        ...(answers[server] ?? []),
      ]);
      assert.deepEqual(seen, wanted);
    });

  it("are not taken of the sidecar's, over UDP or TCP, whatever the mode", async () => {
    await bed.enforce(policyWith('istio', { mode: 'all', tcp: 'capture' }));
    const seen = await Promise.all(
      (['iptables', 'ebpf'] as const).flatMap((contender) =>
        FAMILIES.map((family) => answerOf(contender, 'sidecar', 'first', family)),
      ),
    );
    assert.deepEqual(seen, Array(4).fill([false, NOBODY]));
  });
});
