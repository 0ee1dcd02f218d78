import assert from 'node:assert/strict';
import { it } from 'node:test';
import { faultsOf, type Seen } from './connection_row.ts';
import type { Hop } from './path.ts';

const TARGET = '10.88.0.11:8080';
const EXPECTED = { target: TARGET, ownAddress: '10.88.0.10', server: 'b', hops: ['a outbound', 'b inbound'] };

function hop(pod: Hop['pod'], direction: Hop['direction'], originalDst = TARGET): Hop {
  const record = {
    direction,
    peer: '',
    originalDst,
    upstream: null,
    source: null,
    receivedBytes: 0,
    sentBytes: 0,
    flags: '',
  };
  return { pod, direction, record };
}

const SEEN: Seen = {
  local: '10.88.0.10:40000',
  remote: TARGET,
  who: { name: 'b', peer: '127.0.0.6:50000', local: TARGET },
  sentBytes: 0,
};
const HOPS = [hop('a', 'outbound'), hop('b', 'inbound')];

it('finds nothing wrong with a connection that went as it should', () => {
  assert.deepEqual(faultsOf(SEEN, HOPS, EXPECTED), []);
});

it('sees a connection that went past a sidecar', () => {
  assert.deepEqual(faultsOf(SEEN, [hop('b', 'inbound')], EXPECTED), [
    'it went through b inbound and not through a outbound, b inbound',
  ]);
  assert.match(faultsOf(SEEN, [], EXPECTED)[0] ?? '', /^it went directly/);
});

it('sees a redirection that shows at the client', () => {
  assert.deepEqual(faultsOf({ ...SEEN, remote: '10.88.0.10:15001' }, HOPS, EXPECTED), [
    'getpeername said 10.88.0.10:15001',
  ]);
  const [fault] = faultsOf({ ...SEEN, local: '127.0.0.1:40000' }, HOPS, EXPECTED);
  assert.match(fault ?? '', /^getsockname said 127\.0\.0\.1:40000/);
});

it('sees a wrong original destination, and which sidecar got it', () => {
  const hops = [hop('a', 'outbound'), hop('b', 'inbound', '10.88.0.11:15006')];
  assert.deepEqual(faultsOf(SEEN, hops, EXPECTED), ['sidecar-b restored 10.88.0.11:15006']);
});

it('sees an app that was reached by someone other than its sidecar', () => {
  const who = { ...SEEN.who, peer: '10.88.0.10:41000' };
  assert.deepEqual(faultsOf({ ...SEEN, who }, HOPS, EXPECTED), [
    'the app saw 10.88.0.10:41000, not the passthrough source',
  ]);
});

it('takes an IPv4-mapped socket for what it is', () => {
  const seen = { ...SEEN, local: '[::ffff:10.88.0.10]:40000', remote: '[::ffff:10.88.0.11]:8080' };
  assert.deepEqual(faultsOf(seen, HOPS, { ...EXPECTED, target: '[::ffff:10.88.0.11]:8080' }), []);
});
