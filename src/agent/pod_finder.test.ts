import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodObject } from '../pod/workload.ts';
import { LatestPods } from './pod_finder.ts';

const pod = (name: string, uid?: string): PodObject => ({
  metadata: { name, namespace: 'shop', uid, labels: {}, annotations: {} },
  spec: { hostNetwork: false, containers: [], initContainers: [] },
  status: { podIPs: [] },
});
const ref = (name: string, uid: string | null = null) => ({ namespace: 'shop', name, uid });
const aborted = AbortSignal.abort();

test('a pod is found by name, and by its UID where both sides know one', async () => {
  const pods = new LatestPods();
  pods.update([pod('a', 'u-1'), pod('b')]);
  assert.equal((await pods.find(ref('a'), aborted))?.metadata.uid, 'u-1');
  assert.equal((await pods.find(ref('a', 'u-1'), aborted))?.metadata.uid, 'u-1');
  assert.equal((await pods.find(ref('b', 'u-2'), aborted))?.metadata.name, 'b');
  assert.equal(await pods.find(ref('a', 'u-2'), aborted), null, 'made anew under its old name');
  assert.equal(await pods.find({ ...ref('a'), namespace: 'other' }, aborted), null);
});

test('who asks early is told as soon as the source tells of the pod, and not of the one before it', async () => {
  const pods = new LatestPods();
  pods.update([pod('a', 'u-1')]);
  const stop = new AbortController();
  const found = pods.find(ref('a', 'u-2'), stop.signal);
  pods.update([pod('b', 'u-3')]);
  pods.update([pod('a', 'u-2')]);
  assert.equal((await found)?.metadata.uid, 'u-2');
  const never = pods.find(ref('c'), stop.signal);
  stop.abort();
  assert.equal(await never, null);
});
