import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodObject } from '../pod/workload.ts';
import type { MeshProfile } from './profile.ts';
import { recognise } from './recognise.ts';

function podWith(changes: { hostNetwork?: boolean; annotations?: Record<string, string> }): PodObject {
  return {
    metadata: { name: 'p', namespace: 'n', labels: {}, annotations: changes.annotations ?? {} },
    spec: { hostNetwork: changes.hostNetwork ?? false, containers: [], initContainers: [] },
    status: { podIPs: [] },
  };
}

const knowsNothing: MeshProfile = { name: 'a', recognise: () => null };
const leaves: MeshProfile = { name: 'b', recognise: () => ({ kind: 'leave', reason: 'b' }) };
const rejects: MeshProfile = {
  name: 'c',
  recognise: () => ({ kind: 'reject', notes: [{ annotation: 'x', value: 'y', message: 'z' }] }),
};

test('the first profile that knows the pod decides', () => {
  assert.deepEqual(recognise(podWith({}), [knowsNothing, leaves, rejects]), { kind: 'leave', reason: 'b' });
  assert.equal(recognise(podWith({}), [knowsNothing, rejects, leaves]).kind, 'reject');
});

test('a pod that no profile knows has no sidecar', () => {
  assert.deepEqual(recognise(podWith({}), [knowsNothing]), {
    kind: 'leave',
    reason: 'it has no sidecar of a mesh that Shunt knows',
  });
});

test('a pod of the host network, or one that opts out, is not shown to any profile', () => {
  const asked: MeshProfile = { name: 'd', recognise: () => assert.fail('asked') };
  assert.equal(recognise(podWith({ hostNetwork: true }), [asked]).kind, 'leave');
  assert.equal(
    recognise(podWith({ annotations: { 'shunt.dev/redirect': 'disabled' } }), [asked]).kind,
    'leave',
  );
});

test('a slip in the opt-out does not opt out, and is said', () => {
  const recognition = recognise(podWith({ annotations: { 'shunt.dev/redirect': 'Disabled' } }), [rejects]);
  assert.ok(recognition.kind === 'reject');
  assert.deepEqual(
    recognition.notes.map(({ annotation }) => annotation),
    ['shunt.dev/redirect', 'x'],
  );
});
