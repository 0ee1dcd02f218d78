import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Health } from './health.ts';
import { METRICS } from './metric_list.ts';
import { Metrics, type Readings } from './metrics.ts';
import { parseListenAddress, serveMetrics } from './metrics_server.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const NOTHING = Object.fromEntries(Object.keys(METRICS).map((name) => [name, []])) as unknown as Readings;

async function get(address: string, path: string, method = 'GET') {
  const response = await fetch(`http://${address}${path}`, { method });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

describe('the address of the metrics', () => {
  it('is HOST:PORT, IPv6 in brackets, or every address', () => {
    assert.deepEqual(parseListenAddress('127.0.0.1:15090'), { host: '127.0.0.1', port: 15090 });
    assert.deepEqual(parseListenAddress('[::1]:0'), { host: '::1', port: 0 });
    assert.deepEqual(parseListenAddress(':9090'), { host: '', port: 9090 });
    assert.deepEqual(parseListenAddress('localhost:9090'), { host: 'localhost', port: 9090 });
  });

  it('is refused with an example when it is another thing', () => {
    for (const text of [
      '',
      '15090',
      '::1:80',
      '[::1]',
      '127.0.0.1:',
      'a:65536',
      'a:-1',
      '[x]:1',
      'a b:1',
      'a:٣',
    ]) {
      assert.throws(
        () => parseListenAddress(text),
        { code: 'SHUNT_E_USAGE', fix: /127\.0\.0\.1:15090/ },
        text,
      );
    }
  });
});

describe('the server of the metrics', () => {
  const serve = (metrics: Metrics | null, health = new Health({ intervalMs: 1_000 })) =>
    serveMetrics(
      LOOPBACK,
      health,
      () => metrics,
      () => {},
    );

  it('says that the agent is starting until there is something to read, and that a probe fails by which reason', async () => {
    const health = new Health({ intervalMs: 1_000 });
    await using server = await serve(null, health);
    assert.deepEqual((await get(server.address, '/metrics')).status, 503);
    assert.deepEqual((await get(server.address, '/livez')).status, 200);
    const { status, text } = await get(server.address, '/readyz');
    assert.deepEqual([status, text], [503, 'no pass over the pods has ended yet\n']);
    health.passEnded(true);
    assert.deepEqual((await get(server.address, '/readyz?verbose')).status, 200);
  });

  it('has every metric of the table with its type and help, and takes its values from the reading', async () => {
    let entries = 3;
    const metrics = new Metrics(() => ({
      ...NOTHING,
      shunt_map_entries: [{ labels: { map: 'pods' }, value: entries }],
      shunt_accelerated_bytes_total: [{ value: 10 * entries }],
    }));
    await using server = await serve(metrics);
    for (entries of [3, 2]) {
      const { text, headers } = await get(server.address, '/metrics');
      assert.match(headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
      for (const [name, { type, help }] of Object.entries(METRICS)) {
        assert.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
      }
      assert.ok(text.includes(`shunt_map_entries{map="pods"} ${entries}\n`));
      assert.ok(text.includes(`shunt_accelerated_bytes_total ${10 * entries}\n`));
    }
  });

  it('answers scrapes that come together with one reading', async () => {
    let reads = 0;
    const metrics = new Metrics(() => {
      reads++;
      return NOTHING;
    });
    const [first, second] = await Promise.all([metrics.text(), metrics.text()]);
    assert.equal(first, second);
    assert.equal(reads, 1);
    await metrics.text();
    assert.equal(reads, 2);
  });

  it('answers 500 to a scrape that cannot be read, and tells why elsewhere', async () => {
    const told: unknown[] = [];
    const metrics = new Metrics(() => {
      throw new Error('the map is gone');
    });
    await using server = await serveMetrics(
      LOOPBACK,
      new Health({ intervalMs: 1_000 }),
      () => metrics,
      (error) => told.push(error),
    );
    const { status, text } = await get(server.address, '/metrics');
    assert.equal(status, 500);
    assert.doesNotMatch(text, /gone/);
    assert.match(String(told[0]), /the map is gone/);
  });

  it('knows no other path and takes no other method', async () => {
    await using server = await serve(null);
    assert.equal((await get(server.address, '/')).status, 404);
    assert.equal((await get(server.address, '/metrics/..%2flivez')).status, 404);
    const { status, headers } = await get(server.address, '/livez', 'POST');
    assert.deepEqual([status, headers.get('allow')], [405, 'GET, HEAD']);
  });

  it('refuses an address that is taken or is not of this host, and names it', async () => {
    await using first = await serve(null);
    const port = Number(first.address.split(':')[1]);
    const health = new Health({ intervalMs: 1_000 });
    const open = (host: string) =>
      serveMetrics(
        { host, port },
        health,
        () => null,
        () => {},
      );
    await assert.rejects(open('127.0.0.1'), {
      code: 'SHUNT_E_METRICS_LISTEN',
      message: `127.0.0.1:${port}: something else listens there`,
    });
    await assert.rejects(open('192.0.2.1'), {
      code: 'SHUNT_E_METRICS_LISTEN',
      message: /is not an address of this host/,
    });
  });
});
