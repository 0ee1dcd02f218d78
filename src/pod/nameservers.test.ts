import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { fixturePod } from '../../test/fixtures/pod.ts';
import { nodeNameservers, serversOf } from './nameservers.ts';

let folder = '';
let config = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'shunt-kubelet-'));
  config = join(folder, 'config.yaml');
  writeFileSync(
    join(folder, 'resolv.conf'),
    '# node\nnameserver 192.0.2.1\nsearch x\n nameserver\tfd00::35\n',
  );
  writeFileSync(
    config,
    `kind: KubeletConfiguration\nclusterDNS: [10.96.0.10]\nresolvConf: ${folder}/resolv.conf\n`,
  );
});
after(() => rmSync(folder, { recursive: true }));

const pod = (spec: { dnsPolicy?: string; nameservers?: string[] }) => {
  const made = fixturePod('istio', 'init-ordinary');
  return { ...made, spec: { ...made.spec, ...spec } };
};

it("are the cluster's for most pods, with the pod's own behind them", () => {
  assert.deepEqual(nodeNameservers(pod({}), config), ['10.96.0.10']);
  assert.deepEqual(nodeNameservers(pod({ nameservers: ['192.0.2.7', '10.96.0.10'] }), config), [
    '10.96.0.10',
    '192.0.2.7',
  ]);
});

it("are the node's for dnsPolicy Default, and three at most", () => {
  assert.deepEqual(nodeNameservers(pod({ dnsPolicy: 'Default' }), config), ['192.0.2.1', 'fd00::35']);
  const more = pod({ dnsPolicy: 'Default', nameservers: ['192.0.2.7', '192.0.2.8'] });
  assert.deepEqual(nodeNameservers(more, config), ['192.0.2.1', 'fd00::35', '192.0.2.7']);
});

it('are none on a node without a kubelet, or with a file that is none', () => {
  assert.deepEqual(nodeNameservers(pod({}), join(folder, 'absent')), []);
  writeFileSync(join(folder, 'bad.yaml'), 'clusterDNS: [');
  assert.deepEqual(nodeNameservers(pod({}), join(folder, 'bad.yaml')), []);
});

it('are read from a resolv.conf as libc reads it', () => {
  assert.deepEqual(serversOf('nameserver 1.1.1.1 # x\n;nameserver 2.2.2.2\n'), ['1.1.1.1']);
});
