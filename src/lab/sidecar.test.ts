import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ENVOY } from './envoy.ts';
import { HAPROXY } from './haproxy.ts';

it('reads a record of Envoy, with and without an upstream', () => {
  const record = ENVOY.parse(
    '{"direction":"inbound","peer":"[fd88::a]:46934","original_dst":"[fd88::b]:9999","upstream":"[fd88::b]:9999","source":null,"received":0,"sent":0,"flags":"UF,URX"}',
  );
  assert.deepEqual(record, {
    direction: 'inbound',
    peer: '[fd88::a]:46934',
    originalDst: '[fd88::b]:9999',
    upstream: '[fd88::b]:9999',
    source: null,
    receivedBytes: 0,
    sentBytes: 0,
    flags: 'UF,URX',
  });
});

it('reads a record of HAProxy into the same form', () => {
  const record = HAPROXY.parse(
    '{"direction":"outbound","peer":"10.88.0.10","peer_port":35230,"dst":"fd88::b","dst_port":8080,"upstream":"-","upstream_port":"0","source":"-","source_port":"0","received":4,"sent":70,"flags":"SC"}',
  );
  assert.equal(record?.peer, '10.88.0.10:35230');
  assert.equal(record?.originalDst, '[fd88::b]:8080');
  assert.equal(record?.source, null);
});

it('takes no other line of a log for a record', () => {
  assert.equal(HAPROXY.parse('Proxy outbound stopped (cumulated conns: FE: 2, BE: 0).'), null);
  assert.equal(ENVOY.parse('[2026-01-01][warning] something'), null);
});
