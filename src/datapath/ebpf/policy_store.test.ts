import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type TestBpffs, testBpffs } from '../../../test/fixtures/bpffs.ts';
import { istio, linkerd } from '../../../test/fixtures/policies.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import { builtObjects } from './compile.ts';
import { type NodeObjects, Objects } from './objects.ts';
import { Pins } from './pins.ts';
import { PolicyStore } from './policy_store.ts';

const SIZES = { pods: 16, policies: 16, rules: 64, handshakes: 64, connections: 64 };
function excluding(): RedirectPolicy {
  const policy = istio();
  policy.outbound.excludePorts = [{ first: 3306, last: 3310 }];
  return policy;
}

/** Longer than a policy that was seen whole is taken to be so. */
const LATER_MS = 1_100;

describe('policies in the kernel', () => {
  let bpffs: TestBpffs;
  let objects: NodeObjects;
  let store: PolicyStore;
  beforeEach(async () => {
    bpffs = testBpffs();
    const pins = new Pins(bpffs.path);
    pins.prepare();
    objects = await new Objects(builtObjects(), pins, SIZES).loadNode();
    const { shunt_policies, shunt_ports, shunt_cidrs, shunt_ids } = objects.connect.maps;
    store = new PolicyStore({
      policies: shunt_policies,
      ports: shunt_ports,
      cidrs: shunt_cidrs,
      ids: shunt_ids,
    });
  });
  afterEach(() => {
    objects[Symbol.dispose]();
    bpffs[Symbol.dispose]();
  });

  const rules = () => objects.connect.maps.shunt_ports.size();

  it('are shared by content, and go when nobody has them', () => {
    const id = store.ensure(excluding());
    const count = rules();
    assert.ok(count > 0, 'it has rules');
    assert.equal(store.ensure(excluding()), id);
    assert.equal(rules(), count);
    const other = store.ensure(linkerd());
    assert.notEqual(other, id);
    store.collect(new Set([other]));
    assert.equal(store.find(excluding()), null);
    assert.equal(store.find(linkerd()), other);
    store.collect(new Set());
    assert.equal(rules(), 0);
    assert.equal(store.ensure(excluding()), id, 'and come back');
    assert.equal(rules(), count);
  });

  it('are found wanting when a rule has gone, and made whole', async () => {
    const id = store.ensure(excluding());
    const count = rules();
    objects.connect.maps.shunt_ports.clear();
    await delay(LATER_MS);
    assert.equal(store.find(excluding()), null);
    assert.equal(store.ensure(excluding()), id);
    assert.equal(rules(), count);
  });
});
