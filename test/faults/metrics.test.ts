/** What an agent tells Prometheus and the kubelet, compared with what its pods did. */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { codec, PerCpuMap, possibleCpuCount } from 'libbpf-ts';
import { Counter, CountersCodec } from '../../src/datapath/ebpf/gen/objects.ts';
import { until } from '../../src/lab/deadline.ts';
import { APP_PORT } from '../../src/lab/host.ts';
import { type Scrape, scrape as scrapeOf } from '../fixtures/scrape.ts';
import { FaultBed } from './bed.ts';

const CONNECTIONS = 7;
/** As many as a large node has. */
const PODS = 500;
const OUTBOUND = 'shunt_connections_total{direction="outbound",verdict="redirected"}';
const INBOUND = 'shunt_connections_total{direction="inbound",verdict="redirected"}';
const INBOUND_REFUSED = 'shunt_connections_total{direction="inbound",verdict="refused"}';
const PASSED = 'shunt_connections_total{direction="outbound",verdict="passed"}';
const SIDECAR = 'shunt_connections_total{direction="outbound",verdict="sidecar"}';
const EARLIER = 'shunt_bypass_total{reason="established-before"}';

describe('the metrics of an agent', () => {
  let bed: FaultBed;
  before(async () => {
    bed = await FaultBed.open('metrics');
  });
  after(() => bed?.[Symbol.asyncDispose]());

  const address = (): string => {
    const line = bed.log().findLast(({ event }) => event === 'metrics-listening');
    return String(line?.address);
  };
  const start = () => bed.start('--metrics', '127.0.0.1:0');
  const scrape = () => scrapeOf(address());
  const probe = async (path: string): Promise<number> => (await fetch(`http://${address()}${path}`)).status;

  it('count the connections that its pods had before they were enrolled, and would have captured', async () => {
    const [a, b] = [bed.lab.pod('a'), bed.lab.pod('b')];
    const inside = await a.client();
    await using outward = await inside.connect({ host: bed.lab.outside.address(4), port: APP_PORT });
    await using inward = await (await bed.lab.outside.client()).connect({
      host: b.address(4),
      port: APP_PORT,
    });
    // No rule captures this one.
    await using local = await inside.connect({ host: '127.0.0.1', port: APP_PORT });
    await Promise.all([outward.who(), inward.who(), local.who()]);
    await start();
    const found = await until(
      async () => {
        const values = await scrape();
        return (values.get(EARLIER) ?? 0) === 2 ? values : undefined;
      },
      { what: 'both connections to be counted' },
    );
    assert.equal(found.get('shunt_bypass_total{reason="query-no-memory"}'), 0);
    const told = bed.log().filter(({ event }) => event === 'bypass');
    assert.deepEqual(told.map(({ pod, connections }) => [pod, connections]).sort(), [
      ['default/pod-a', 1],
      ['default/pod-b', 1],
    ]);
    assert.deepEqual(
      [await probe('/startupz'), await probe('/readyz'), await probe('/livez')],
      [200, 200, 200],
    );
  });

  it('tell what the canary saw, as the status does', async () => {
    const { acceleration } = await bed.client.status();
    const values = await scrape();
    const told = (acceleration.canary ?? []).map(({ name }) =>
      values.get(`shunt_canary_passed{item="${name}"}`),
    );
    assert.ok(told.length > 0);
    assert.deepEqual(
      told,
      (acceleration.canary ?? []).map(({ fault }) => (fault === null ? 1 : 0)),
    );
    assert.ok(told.includes(1));
  });

  it('count each connection that was redirected, let pass or refused', async () => {
    const [a, b] = [bed.lab.pod('a'), bed.lab.pod('b')];
    const client = await a.client();
    const before = await scrape();
    const grown = (now: Scrape, name: string): number => (now.get(name) ?? 0) - (before.get(name) ?? 0);
    for (let i = 0; i < CONNECTIONS; i++) {
      await using connection = await client.connect({ host: b.address(4), port: APP_PORT });
      await connection.who();
    }
    let now = await scrape();
    assert.equal(grown(now, OUTBOUND), CONNECTIONS);
    assert.equal(grown(now, INBOUND), CONNECTIONS);
    assert.equal(grown(now, SIDECAR), 2 * CONNECTIONS);
    assert.equal(grown(now, PASSED), 0);
    assert.equal(grown(now, EARLIER), 0);

    await using local = await client.connect({ host: '127.0.0.1', port: APP_PORT });
    await local.who();
    await b.sidecar.stop();
    const outside = await bed.lab.outside.client();
    await assert.rejects(outside.connect({ host: b.address(4), port: APP_PORT }));
    await b.sidecar.start();
    now = await scrape();
    assert.equal(grown(now, PASSED), 1);
    assert.ok(grown(now, INBOUND_REFUSED) >= 1);
    await until(
      async () =>
        ((await scrape()).get('shunt_kernel_events_total{kind="inbound-refused"}') ?? 0) >= 1 || undefined,
      { what: 'the event of the refusal' },
    );
  });

  it('tell pods, maps and why each backend was chosen', async () => {
    const status = await bed.client.status();
    const values = await scrape();
    assert.equal(values.get('shunt_pods{state="enrolled",backend="ebpf"}'), 2);
    assert.equal(values.get('shunt_pods{state="failed",backend="none"}'), 0);
    assert.equal(values.get('shunt_backend_info{backend="ebpf",reason="capable"}'), 1);
    assert.equal(values.get('shunt_links{attached="true"}'), status.links.length);
    for (const { name, capacity } of status.maps) {
      assert.equal(values.get(`shunt_map_capacity{map="${name}"}`), capacity);
      assert.ok(values.has(`shunt_map_entries{map="${name}"}`), name);
    }
    assert.ok((values.get('shunt_reconcile_duration_seconds_count') ?? 0) >= 1);

    const text = bed.read('b.yaml');
    const wish = text.replace('annotations:\n', 'annotations:\n    shunt.dev/backend: iptables\n');
    await bed.write('b.yaml', wish, (seen) => seen.enrolledBy.iptables === 1);
    const moved = await scrape();
    assert.equal(moved.get('shunt_pods{state="enrolled",backend="iptables"}'), 1);
    assert.equal(moved.get('shunt_iptables_pods{reason="asked"}'), 1);
    assert.equal(moved.get('shunt_iptables_pods{reason="node"}'), 0);
    // The pod took no counter with it.
    assert.equal(moved.get(INBOUND), values.get(INBOUND));
    await bed.write('b.yaml', text, (seen) => seen.enrolledBy.ebpf === 2);
  });

  it("are read of 500 pods' counters in one scrape", async (t) => {
    const timed = async (): Promise<[number, Scrape]> => {
      const startedMs = performance.now();
      const values = await scrape();
      return [performance.now() - startedMs, values];
    };
    await scrape();
    const [fewMs, before] = await timed();
    using map = PerCpuMap.fromPin(join(bed.bpffs, 'shunt/maps/counters'), {
      key: codec.u64,
      value: CountersCodec,
    });
    const cpus = possibleCpuCount();
    // Of namespaces that no pod has: the numbers of the kernel's cookies are far below.
    const cookies = Array.from({ length: PODS }, (_, pod) => (1n << 62n) + BigInt(pod));
    const values = Array.from({ length: Counter.COUNTER_MAX }, () => 3n);
    map.setMany(cookies.map((cookie) => [cookie, Array.from({ length: cpus }, () => ({ values }))] as const));
    try {
      const [manyMs, now] = await timed();
      for (const name of [OUTBOUND, INBOUND, 'shunt_accelerated_bytes_total']) {
        assert.equal(now.get(name), (before.get(name) ?? 0) + 3 * cpus * PODS, name);
      }
      const cost = `${fewMs.toFixed(1)} ms with the counters of 2 pods, ${manyMs.toFixed(1)} ms with those of ${PODS} more`;
      t.diagnostic(`a scrape over HTTP: ${cost}`);
    } finally {
      map.deleteMany(cookies);
    }
  });

  it('go on where they were with the next agent, which finds nothing that bypassed', async () => {
    const before = await scrape();
    await bed.stop('SIGKILL');
    const client = await bed.lab.pod('a').client();
    await using connection = await client.connect({ host: bed.lab.pod('b').address(4), port: APP_PORT });
    await connection.who();
    await start();
    const now = await scrape();
    assert.equal(now.get(OUTBOUND), (before.get(OUTBOUND) ?? 0) + 1);
    assert.equal(now.get(EARLIER), 0);
  });

  it('are not answered by an agent whose event loop stands still, and are again when it goes on', async () => {
    const { pid } = await bed.client.status();
    const url = `http://${address()}/livez`;
    process.kill(pid, 'SIGSTOP');
    try {
      await assert.rejects(fetch(url, { signal: AbortSignal.timeout(300) }), { name: 'TimeoutError' });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    assert.equal((await fetch(url)).status, 200);
  });

  it('need an address that is free and is one; otherwise the agent does not start', async () => {
    await bed.stop();
    await using taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const port = (taken.address() as { port: number }).port;
    const inUse = await bed.refused(bed.agentArgv('--metrics', `127.0.0.1:${port}`));
    assert.equal(inUse.code, 1, inUse.stderr);
    assert.match(
      inUse.stderr,
      new RegExp(`127\\.0\\.0\\.1:${port}: something else listens there \\[SHUNT_E_METRICS_LISTEN\\]`),
    );
    const bad = await bed.refused(bed.agentArgv('--metrics', '15090'));
    assert.equal(bad.code, 2, bad.stderr);
    assert.match(bad.stderr, /--metrics 15090 is not HOST:PORT \[SHUNT_E_USAGE\]\nfix: .*127\.0\.0\.1:15090/);
  });
});
