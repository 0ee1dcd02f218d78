import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ShuntError } from '../errors.ts';
import { type CniCall, readCall } from './call.ts';
import { CallReader, callText } from './protocol.ts';

const VARIABLES = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/x',
  CNI_IFNAME: 'eth0',
};
const CONFIG = { cniVersion: '1.0.0', name: 'net' };
const read = (variables: Record<string, string>, config: object = CONFIG): CniCall =>
  readCall(new Map(Object.entries({ ...VARIABLES, ...variables })), JSON.stringify(config));

test('the pod is found in CNI_ARGS in any order, between words of others', () => {
  const words = [
    'IgnoreUnknown=1',
    'K8S_POD_NAMESPACE=shop',
    'K8S_POD_NAME=cart-1',
    'K8S_POD_UID=u-1',
    'X=K8S_POD_NAME=y',
    '',
  ];
  fc.assert(
    fc.property(fc.shuffledSubarray(words, { minLength: words.length }), (order) => {
      const call = read({ CNI_ARGS: order.join(';') });
      assert.ok(call.command === 'ADD');
      assert.deepEqual(call.pod, { namespace: 'shop', name: 'cart-1', uid: 'u-1' });
    }),
  );
});

test('without a namespace or a name there is no pod of Kubernetes; without a UID there is', () => {
  const podOf = (CNI_ARGS: string) => {
    const call = read({ CNI_ARGS });
    return 'pod' in call ? call.pod : undefined;
  };
  assert.equal(podOf('IgnoreUnknown=1;K8S_POD_NAME=box'), null);
  assert.equal(podOf(''), null);
  assert.deepEqual(podOf('K8S_POD_NAME=a;K8S_POD_NAMESPACE=b'), { namespace: 'b', name: 'a', uid: null });
});

test('addresses of prevResult are canonical, and what is none is passed over', () => {
  const ips = [
    { address: '10.0.0.2/24' },
    { address: '2001:DB8:0::2/64' },
    { address: 'x' },
    { address: '' },
  ];
  const call = read({}, { ...CONFIG, prevResult: { ips } });
  assert.deepEqual('ips' in call && call.ips, ['10.0.0.2', '2001:db8::2']);
  assert.deepEqual(read({ CNI_COMMAND: 'DEL', CNI_NETNS: '' }), {
    command: 'DEL',
    network: 'net',
    containerId: 'c1',
    ifname: 'eth0',
    pod: null,
    netns: null,
  });
});

test('whatever comes, a call is read or refused with an error of ours', () => {
  const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constant('a'.repeat(5_000)));
  const name = fc.constantFrom(
    'CNI_COMMAND',
    'CNI_CONTAINERID',
    'CNI_NETNS',
    'CNI_IFNAME',
    'CNI_ARGS',
    'CNI_X',
  );
  fc.assert(
    fc.property(
      fc.dictionary(name, text),
      fc.oneof(text, fc.json(), fc.constant(JSON.stringify(CONFIG))),
      (env, stdin) => {
        try {
          const call = readCall(new Map(Object.entries({ ...VARIABLES, ...env })), stdin);
          if ('containerId' in call) assert.match(call.containerId, /^[\w.-]{1,160}$/);
        } catch (error) {
          assert.ok(error instanceof ShuntError, String(error));
        }
      },
    ),
  );
});

test('a call is heard the same in whatever pieces it comes', () => {
  const whole = Buffer.from(callText({ ...VARIABLES, CNI_ARGS: 'K=ü=;L' }, '{"ä":1}'));
  fc.assert(
    fc.property(fc.array(fc.nat(whole.length), { maxLength: 8 }), (cuts) => {
      const reader = new CallReader();
      const at = [...cuts.sort((a, b) => a - b), whole.length];
      const heard = at.map((end, i) => reader.push(whole.subarray(i === 0 ? 0 : at[i - 1], end)));
      const call = heard.find((each) => each !== null);
      assert.equal(call?.stdin, '{"ä":1}');
      assert.equal(call?.variables.get('CNI_ARGS'), 'K=ü=;L');
    }),
  );
});

test('what is no call, or a longer one than the plugin makes, is refused at its head', () => {
  for (const text of [
    'GET / HTTP/1.1\r\n',
    'x'.repeat(64),
    'SHUNT-CNI 2 1 1\n',
    'SHUNT-CNI 1 -1 1\n',
    'SHUNT-CNI 1 99999 1\n',
    'SHUNT-CNI 1 1 65537\n',
    'SHUNT-CNI 1 0 0\nmore',
  ]) {
    assert.throws(() => new CallReader().push(Buffer.from(text)), /./, text);
  }
});
