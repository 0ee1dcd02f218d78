/** What each mesh's init container asks of the rules before the pod may start, under our backends (and the mesh's own). */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { Bed, type Validation } from './bed.ts';
import { type Family, MESHES } from './meshes.ts';
import type { Seen } from './probe.ts';

const FAMILIES: readonly Family[] = existsSync('/proc/sys/net/ipv6') ? [4, 6] : [4];
const LOCAL = { 4: '127.0.0.1', 6: '::1' };
const PASSTHROUGH = { 4: '127.0.0.6', 6: '::6' };

interface Validator {
  name: string;
  mesh: string;
  validation(family: Family): Validation;
  check(seen: Seen): void;
}

const VALIDATORS: readonly Validator[] = [
  {
    name: 'istio-validation',
    mesh: 'istio',
    validation: (family) => ({
      uid: 1337,
      serve: ['localhost:15001', 'localhost:15006'],
      source: LOCAL[family],
      host: PASSTHROUGH[family],
      port: 15002,
    }),
    check: ({ landing, original }) => {
      assert.match(landing, /^validator:(15001|15006)$/);
      assert.match(original ?? '', /:15002$/);
    },
  },
  {
    name: 'linkerd-network-validator',
    mesh: 'linkerd',
    validation: (family) => ({
      uid: 65534,
      serve: ['any:4140'],
      source: null,
      host: family === 4 ? '1.1.1.1' : 'fd00::1',
      port: 20001,
    }),
    check: ({ landing }) => assert.equal(landing, 'validator:4140'),
  },
  {
    name: 'kuma-validation',
    mesh: 'kuma',
    validation: (family) => ({
      uid: 5678,
      serve: ['localhost:15006'],
      source: LOCAL[family],
      host: PASSTHROUGH[family],
      port: 23456,
    }),
    check: ({ landing }) => assert.equal(landing, 'validator:15006'),
  },
];

for (const { name, mesh: meshName, validation, check } of VALIDATORS) {
  describe(name, () => {
    let bed: Bed;
    before(async () => {
      const mesh = MESHES.find((entry) => entry.name === meshName);
      assert.ok(mesh);
      bed = await Bed.open(mesh, ['iptables', 'ebpf'], 'none');
    });
    after(async () => await bed[Symbol.asyncDispose]());

    const contenders = ['oracle', 'iptables', 'ebpf'] as const;
    for (const contender of contenders) {
      const what = contender === 'oracle' ? "the mesh's own rules" : contender;
      for (const family of FAMILIES) {
        it(`is content with ${what} for IPv${family}`, async () => {
          check(await bed.validate(contender, validation(family)));
        });
      }
    }
  });
}
