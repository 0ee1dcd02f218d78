import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { ShuntError } from '../errors.ts';
import { podManifest } from '../lab/manifest.ts';
import type { Locator } from '../pod/locate.ts';
import { parseManifest } from '../pod/manifest.ts';
import { Reconciler } from './reconciler.ts';

const FILE = 'pod.json';

function reconciler(locator: Partial<Locator>): Reconciler {
  const backends = { ebpf: null, iptables: null, wish: 'auto' as const, reason: 'none runs here' };
  const nowhere: Locator = {
    locate() {
      throw new ShuntError('SHUNT_E_POD_NOT_STARTED');
    },
    expire() {},
    directories: () => [],
    ...locator,
  };
  return new Reconciler(backends, pino({ level: 'silent' }), () => ({}), null, nowhere);
}

function snapshot() {
  const manifest = podManifest({ name: 'web', netns: '', cgroup: '', podIPs: [] });
  return {
    pods: parseManifest(JSON.stringify(manifest), FILE).map((pod) => ({ pod, file: FILE })),
    rejected: [],
  };
}

test('a pod that has not started is due again after a pass, and none is before', async () => {
  const stop = new AbortController();
  const pods = reconciler({});
  let isDue = false;
  const due = pods.retryDue(stop.signal).then((result) => {
    isDue = true;
    return result;
  });
  await pods.reconcile({ pods: [], rejected: [] });
  await setImmediate();
  assert.equal(isDue, false);
  await pods.reconcile(snapshot());
  assert.equal(await due, true);
  let looked = 0;
  const again = reconciler({
    locate() {
      looked++;
      throw new ShuntError('SHUNT_E_POD_NOT_STARTED');
    },
  });
  await again.reconcile(snapshot());
  assert.equal(await again.retryDue(stop.signal), true);
  await again.retry();
  assert.equal(looked, 2);
});

test('the wait for a pod ends with the signal', async () => {
  const stop = new AbortController();
  const waiting = reconciler({}).retryDue(stop.signal);
  stop.abort();
  assert.equal(await waiting, false);
});
