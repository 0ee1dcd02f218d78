/** The plugin, a real agent and real network namespaces: what ADD, CHECK, DEL, GC and STATUS do to a pod's traffic. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { metricsAddress, scrape } from '../fixtures/scrape.ts';
import { APP_UID, CniBed, SIDECAR_UID } from './bed.ts';
import { netconf, podArgs, runPlugin } from './plugin.ts';

const passed = { code: 0, stderr: '' };
const errorOf = (stdout: string): { code: number; msg: string; details: string } => JSON.parse(stdout);

describe('the CNI plugin and the agent', () => {
  let bed: CniBed;
  before(async () => {
    bed = await CniBed.open('cniagent', ['a', 'b', 'c']);
    await bed.serveOutside();
  });
  after(() => bed?.[Symbol.asyncDispose]());

  it('deny from ADD on what no sidecar takes yet, let the sidecar uid pass as iptables would, and capture from then on', async () => {
    const a = bed.pod('a');
    bed.write(a);
    await bed.start('--metrics', '127.0.0.1:0');
    await bed.known(a);
    const app = await bed.serve(bed.place(a, APP_UID), 'app', 9090);
    assert.equal(await bed.outbound(a, APP_UID), 'outside 8080', 'the way is open before ADD');
    assert.equal(await bed.inbound(a, 9090), 'app 9090');

    const add = await bed.call('ADD', a);
    assert.deepEqual(
      { ...add, stdout: JSON.parse(add.stdout).ips[0] },
      { ...passed, stdout: { address: '10.88.0.10/24' } },
    );
    assert.equal(await bed.outbound(a, APP_UID), 'refused', 'an init container of any uid');
    assert.equal(
      await bed.outbound(a, SIDECAR_UID),
      'outside 8080',
      'an init container with the uid of the sidecar',
    );
    assert.equal(await bed.inbound(a, 9090), 'refused');

    await bed.serve(bed.place(a, SIDECAR_UID), 'sidecar', 15001, 15006);
    assert.equal(await bed.outbound(a, APP_UID), 'sidecar 15001');
    assert.match(await bed.inbound(a, 9090), /^sidecar /);
    const [report] = await bed.client.pods();
    assert.equal(report?.state, 'enrolled');
    assert.equal(report?.netns?.path, a.netns.path);
    assert.equal(report?.ip4, a.netns.ip4);
    await app.stop();
  });

  it('count the calls by command and result, and tell how long they took', async () => {
    const before = await scrape(metricsAddress(bed.log()));
    const [a, unknown] = [bed.pod('a'), { ...bed.pod('c'), name: 'nobody', uid: 'uid-nobody' }];
    assert.equal((await bed.call('STATUS', a)).code, 0);
    assert.equal((await bed.call('DEL', unknown)).code, 0);
    const add = await bed.call('ADD', { ...a, netns: { ...a.netns, path: '/run/netns/nowhere' } });
    assert.equal(errorOf(add.stdout).code, 4);
    const after = await scrape(metricsAddress(bed.log()));
    const grown = [...after].flatMap(([name, value]) => {
      const by = value - (before.get(name) ?? 0);
      return by > 0 && /^shunt_cni_(requests_total|duration_seconds_count)/.test(name) ? [[name, by]] : [];
    });
    assert.deepEqual(grown.sort(), [
      ['shunt_cni_duration_seconds_count{command="ADD"}', 1],
      ['shunt_cni_duration_seconds_count{command="DEL"}', 1],
      ['shunt_cni_duration_seconds_count{command="STATUS"}', 1],
      ['shunt_cni_requests_total{command="ADD",result="failed"}', 1],
      ['shunt_cni_requests_total{command="DEL",result="ok"}', 1],
      ['shunt_cni_requests_total{command="STATUS",result="ok"}', 1],
    ]);
    assert.equal(after.get('shunt_cni_requests_total{command="ADD",result="ok"}'), 1);
    assert.equal(after.get('shunt_watch_lists_total{resource="pods"}'), undefined, 'pods come from files');
  });

  it('find with CHECK what is missing in the kernel, and nothing after the agent repaired it', async () => {
    const a = bed.pod('a');
    assert.equal((await bed.call('ADD', a)).code, 0, 'a second ADD of the same sandbox');
    assert.deepEqual(await bed.call('CHECK', a), { ...passed, stdout: '' });
    const [report] = await bed.client.pods();
    await bed.breakInbound(report?.netns?.cookie ?? '');
    const check = await bed.call('CHECK', a);
    assert.equal(check.code, 1);
    assert.equal(errorOf(check.stdout).code, 101);
    assert.match(errorOf(check.stdout).msg, /inbound steering is not attached/);
    await bed.client.reconcile();
    assert.deepEqual(await bed.call('CHECK', a), { ...passed, stdout: '' });
    const stranger = await bed.call('CHECK', { ...a, containerId: 'another' });
    assert.match(errorOf(stranger.stdout).msg, /no ADD of this sandbox is known/);
    const elsewhere = await bed.call('CHECK', { ...a, netns: bed.pod('b').netns });
    assert.match(errorOf(elsewhere.stdout).msg, /another than at ADD/);
  });

  it('keep a pod in force while the agent is away, and know it again after it was killed', async () => {
    const a = bed.pod('a');
    await bed.stop('SIGKILL');
    assert.equal(await bed.outbound(a, APP_UID), 'sidecar 15001');
    const away = await bed.call('ADD', bed.pod('b'));
    assert.equal(errorOf(away.stdout).code, 11);
    assert.equal(errorOf((await bed.call('STATUS', a)).stdout).code, 50);
    await bed.start();
    const [report] = await bed.client.pods();
    assert.equal(report?.state, 'enrolled');
    assert.deepEqual(await bed.call('CHECK', a), { ...passed, stdout: '' });
    assert.deepEqual(await bed.call('STATUS', a), { ...passed, stdout: '' });
  });

  it('wait in ADD for a pod that the source tells of later', async () => {
    const b = bed.pod('b');
    const adding = bed.call('ADD', b);
    bed.write(b);
    assert.equal((await adding).code, 0);
    assert.equal((await bed.settled((pods) => pods.find(({ name }) => name === 'b')))?.state, 'enrolled');
  });

  it('pass a pod without a sidecar, and remember it for the time without an agent', async () => {
    const c = bed.pod('c');
    assert.equal(errorOf((await bed.call('ADD', c, { deadlineMs: 300 })).stdout).code, 11, 'not known yet');
    bed.write(c, { meshed: false });
    await bed.known(c);
    assert.equal((await bed.call('ADD', c)).code, 0);
    assert.deepEqual(await bed.call('CHECK', c), { ...passed, stdout: '' });
    assert.equal(await bed.outbound(c, APP_UID), 'outside 8080');
    await bed.stop('SIGTERM');
    assert.equal((await bed.call('ADD', c)).code, 0);
    assert.equal(errorOf((await bed.call('ADD', bed.pod('b'))).stdout).code, 11);
    await bed.start();
  });

  it('pass a container that is no pod of Kubernetes', async () => {
    const { netns } = bed.pod('c');
    const config = bed.config(bed.pod('c'));
    assert.equal(
      (await runPlugin('ADD', { netns: netns.path, args: 'IgnoreUnknown=1;K8S_POD_NAME=box' }, config)).code,
      0,
    );
  });

  it('refuse hostile variables with an error that names them, and stay up', async () => {
    const a = bed.pod('a');
    const args = podArgs('default', a.name, a.uid);
    const netns = a.netns.path;
    const cases: [what: string, env: Parameters<typeof runPlugin>[1], code: number][] = [
      ['no container id', { netns, args, containerId: '' }, 4],
      ['a path as container id', { netns, args, containerId: '../../etc/passwd' }, 4],
      ['a container id of 10,000 letters', { netns, args, containerId: 'x'.repeat(10_000) }, 4],
      ['an interface with a slash', { netns, args, ifname: 'a/b' }, 4],
      ['an interface ..', { netns, args, ifname: '..' }, 4],
      ['no namespace', { netns: '', args }, 4],
      ['a relative namespace', { netns: 'run/netns/x', args }, 4],
      ['a namespace that is gone', { netns: '/run/netns/shunt-not-there', args }, 4],
      ['a file as namespace', { netns: '/etc/passwd', args }, 4],
      ['our own namespace', { netns: '/proc/self/ns/net', args }, 4],
      ['a pod name with a slash', { netns, args: podArgs('default', '../x', 'u') }, 4],
      ['a pod UID with a slash', { netns, args: podArgs('default', a.name, '../x') }, 4],
      ['two names', { netns, args: `${args};K8S_POD_NAME=other` }, 4],
    ];
    for (const [what, env, code] of cases) {
      const add = await runPlugin('ADD', env, bed.config(a));
      assert.equal(add.code, 1, what);
      assert.equal(errorOf(add.stdout).code, code, `${what}: ${add.stdout}`);
      assert.match(errorOf(add.stdout).msg, /SHUNT_E_/, what);
      const del = await runPlugin('DEL', env, bed.config(null));
      assert.equal(del.code, 0, what);
    }
    assert.deepEqual(await bed.call('CHECK', a), { ...passed, stdout: '' });
  });

  it('take a pod out with the first DEL of six, five of them without namespace and result', async () => {
    const a = bed.pod('a');
    const args = podArgs('default', a.name, a.uid);
    assert.equal(
      (await runPlugin('DEL', { args, netns: '', containerId: 'another' }, bed.config(null))).code,
      0,
    );
    assert.equal(await bed.outbound(a, APP_UID), 'sidecar 15001', "another sandbox's DEL");
    assert.deepEqual(await bed.call('DEL', a), { ...passed, stdout: '' });
    for (let i = 0; i < 5; i++) {
      const again = await runPlugin('DEL', { args, netns: '', containerId: a.containerId }, bed.config(null));
      assert.deepEqual(again, { ...passed, stdout: '' });
    }
    assert.equal(await bed.outbound(a, APP_UID), 'outside 8080');
    assert.deepEqual((await bed.client.reconcile()).outstanding, []);
    const held = (await bed.client.pods()).filter(({ held }) => held !== null).map(({ name }) => name);
    assert.deepEqual(held, ['b']);
  });

  it('keep the newer of two sandboxes of a pod when the older is taken down', async () => {
    const a = bed.pod('a');
    await bed.call('ADD', { ...a, containerId: 'older' });
    await bed.call('ADD', { ...a, containerId: 'newer' });
    await bed.call('DEL', { ...a, containerId: 'older' });
    assert.equal(await bed.outbound(a, APP_UID), 'sidecar 15001');
  });

  it('take out with GC what the runtime no longer knows, of its own network alone', async () => {
    const b = bed.pod('b');
    const valid = { 'cni.dev/valid-attachments': [{ containerID: b.containerId, ifname: 'eth0' }] };
    const gc = (fields: Record<string, unknown>) =>
      runPlugin('GC', {}, netconf({ cniVersion: '1.1.0', socket: bed.cniSocket, ...fields }, null));
    assert.equal((await gc({ ...valid, name: 'another' })).code, 0);
    assert.equal(await bed.outbound(bed.pod('a'), APP_UID), 'sidecar 15001');
    assert.equal((await gc({})).code, 0);
    assert.equal(
      await bed.outbound(bed.pod('a'), APP_UID),
      'sidecar 15001',
      'without the list nothing is stale',
    );
    assert.deepEqual(await gc(valid), { ...passed, stdout: '' });
    assert.equal(await bed.outbound(bed.pod('a'), APP_UID), 'outside 8080');
    assert.deepEqual(await bed.call('CHECK', b), { ...passed, stdout: '' });
    assert.deepEqual(readdirSync(join(bed.folder, 'run', 'attachments')).length, 1);
  });
});
