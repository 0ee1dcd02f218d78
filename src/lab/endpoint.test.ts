import assert from 'node:assert/strict';
import { it } from 'node:test';
import { endpoint, hostOf, unmapped } from './endpoint.ts';

it('writes IPv6 in brackets and reads it back', () => {
  assert.equal(endpoint('10.88.0.10', 80), '10.88.0.10:80');
  assert.equal(endpoint('fd88::a', 80), '[fd88::a]:80');
  assert.equal(hostOf('[fd88::a]:80'), 'fd88::a');
  assert.equal(hostOf('10.88.0.10:80'), '10.88.0.10');
});

it('takes an IPv4-mapped endpoint for IPv4, and nothing else', () => {
  assert.equal(unmapped('[::ffff:192.0.2.2]:8080'), '192.0.2.2:8080');
  assert.equal(unmapped('[fd88::a]:8080'), '[fd88::a]:8080');
});
