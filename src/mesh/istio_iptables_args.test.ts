import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIptablesArgs } from './istio_iptables_args.ts';

const read = (...args: string[]) =>
  Object.fromEntries([...parseIptablesArgs(args)].map(([option, { value }]) => [option, value]));

test('an option is read in each spelling that the program takes', () => {
  for (const args of [['-p', '1'], ['-p1'], ['-p=1'], ['--envoy-port', '1'], ['--envoy-port=1']]) {
    assert.deepEqual(read(...args), { outboundPort: '1' }, args.join(' '));
  }
});

test('an empty value is a value, and so is a star', () => {
  assert.deepEqual(read('istio-iptables', '-x', '', '-b', '*', '--istio-service-cidr='), {
    excludeOutboundIPRanges: '',
    includeInboundPorts: '*',
    includeOutboundIPRanges: '',
  });
});

test('switches and options that say nothing of the rules are passed over', () => {
  assert.deepEqual(
    read('--redirect-dns', '-p', '1', '--log_output_level=default:info', '--run-validation', '-z', '2'),
    {
      outboundPort: '1',
      inboundPort: '2',
    },
  );
});

test('the last of one option wins, and an option without its value says nothing', () => {
  assert.deepEqual(read('-u', '1', '--proxy-uid=2', '-p'), { proxyUid: '2' });
});
