import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fixturePod } from '../../test/fixtures/pod.ts';
import type { PodObject } from '../pod/workload.ts';
import { SUPPLEMENTAL_GROUPS, UID_RANGE } from './openshift.ts';
import type { Recognition } from './profile.ts';
import { MESH_PROFILES, recognise } from './recognise.ts';

const CONFIG = 'consul.hashicorp.com/redirect-traffic-config';

/** As the agent has it: the namespace from the settings file. */
function inNamespace(pod: PodObject, annotations: Record<string, string>): Recognition {
  const namespaces = { [pod.metadata.namespace]: { labels: {}, annotations } };
  return recognise(pod, MESH_PROFILES, { settings: { namespaces } });
}

/** An Istio pod in CNI mode whose sidecar says nothing of ids. */
function istioPod(ids: { runAsUser?: number; runAsGroup?: number } = {}): PodObject {
  const pod = fixturePod('istio', 'cni-openshift');
  for (const container of [...pod.spec.initContainers, ...pod.spec.containers]) {
    if (container.name !== 'istio-proxy') continue;
    container.runAsUser = ids.runAsUser;
    container.runAsGroup = ids.runAsGroup;
  }
  return pod;
}

function identityOf(recognition: Recognition): object {
  assert.ok(recognition.kind === 'redirect', JSON.stringify(recognition));
  return recognition.policy.identity;
}

describe("OpenShift's ids of a namespace, for Istio", () => {
  it('are the highest of the uids, and of the first block of groups', () => {
    const annotations = {
      [UID_RANGE]: '1000680000/10000',
      [SUPPLEMENTAL_GROUPS]: '1000700000-1000700099,5000/10',
    };
    assert.deepEqual(identityOf(inNamespace(istioPod(), annotations)), {
      proxyUids: [1_000_689_999],
      proxyGids: [1_000_700_099],
    });
  });

  it('are the uids for the group too, where the namespace has no groups', () => {
    assert.deepEqual(identityOf(inNamespace(istioPod(), { [UID_RANGE]: '1000680000-1000689999' })), {
      proxyUids: [1_000_689_999],
      proxyGids: [1_000_689_999],
    });
  });

  it('do not count against what the pod says, root included', () => {
    const annotations = { [UID_RANGE]: '1000680000/10000' };
    assert.deepEqual(identityOf(inNamespace(istioPod({ runAsUser: 2001, runAsGroup: 2002 }), annotations)), {
      proxyUids: [2001],
      proxyGids: [2002],
    });
    assert.deepEqual(identityOf(inNamespace(istioPod({ runAsUser: 0, runAsGroup: 1337 }), annotations)), {
      proxyUids: [1337],
      proxyGids: [1337],
    });
  });

  it('do not count in init mode, whose rules have their uid as an argument', () => {
    const pod = fixturePod('istio', 'init-ordinary');
    assert.deepEqual(identityOf(inNamespace(pod, { [UID_RANGE]: '1000680000/10000' })), {
      proxyUids: [1337],
      proxyGids: [1337],
    });
  });

  it('are passed over with a note when they cannot be read', () => {
    for (const text of [
      '',
      '1000680000',
      '1000/0',
      '20-10',
      '4294967290/100',
      '1/2/3',
      'a/b',
      '-1/10',
      '１/2',
    ]) {
      const recognition = inNamespace(istioPod(), { [UID_RANGE]: text });
      assert.deepEqual(identityOf(recognition), { proxyUids: [1337], proxyGids: [1337] }, text);
      assert.ok(recognition.kind === 'redirect');
      const [note] = recognition.notes;
      assert.equal(note?.annotation, `namespace, ${UID_RANGE}`, text);
      assert.match(note?.message ?? '', /is not a block of ids such as .*, so 1337 is taken/);
    }
  });
});

describe("OpenShift's ids of a namespace, for Consul", () => {
  function consulPod(user: string | undefined, application?: number): PodObject {
    const pod = fixturePod('consul', 'cni-default');
    const config = JSON.parse(pod.metadata.annotations[CONFIG] ?? '');
    pod.metadata.annotations[CONFIG] = JSON.stringify({ ...config, ProxyUserID: user });
    for (const container of pod.spec.containers) {
      if (container.name !== 'consul-dataplane') container.runAsUser = application;
    }
    return pod;
  }

  it('are the last but one that no application has', () => {
    const annotations = { [UID_RANGE]: '1000/10' };
    const uidOf = (application?: number) =>
      identityOf(inNamespace(consulPod(undefined, application), annotations));
    assert.deepEqual(uidOf(), { proxyUids: [1008], proxyGids: [] });
    assert.deepEqual(uidOf(1009), { proxyUids: [1007], proxyGids: [] });
    assert.deepEqual(uidOf(1008), { proxyUids: [1007], proxyGids: [] });
    assert.deepEqual(uidOf(1000), { proxyUids: [1008], proxyGids: [] });
  });

  it('do not count against the configuration, and are needed without one', () => {
    assert.deepEqual(identityOf(inNamespace(consulPod('5995'), { [UID_RANGE]: '1000/10' })), {
      proxyUids: [5995],
      proxyGids: [],
    });
    const missing = recognise(consulPod(''));
    assert.ok(missing.kind === 'reject');
    assert.match(missing.notes[0]?.annotation ?? '', /ProxyUserID$/);
    for (const [text, problem] of [
      ['1000/1', /fewer than two/],
      ['1000', /is not a block of ids/],
    ] as const) {
      const refused = inNamespace(consulPod(''), { [UID_RANGE]: text });
      assert.ok(refused.kind === 'reject', text);
      assert.match(refused.notes[0]?.message ?? '', problem);
    }
  });
});
