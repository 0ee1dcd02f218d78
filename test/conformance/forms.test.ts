/** The forms of the sockops program that older kernels get, forced on this one: connections of a pod of Istio's. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { builtObjects } from '../../src/datapath/ebpf/compile.ts';
import { runMatrix } from './matrix.ts';
import { MESHES } from './meshes.ts';
import { failures } from './table.ts';

const ISTIO = MESHES.filter(({ name }) => name === 'istio');

for (const form of ['sockops_btf', 'sockops_role'])
  for (const mesh of ISTIO)
    test(`a pod of ${mesh.name} sees the same by ${form}.bpf.o`, async () => {
      using stack = new DisposableStack();
      const objects = mkdtempSync(join(tmpdir(), 'shunt-forms-'));
      stack.defer(() => rmSync(objects, { recursive: true }));
      for (const name of readdirSync(builtObjects()).filter((each) => !each.startsWith('sockops')))
        copyFileSync(join(builtObjects(), name), join(objects, name));
      copyFileSync(join(builtObjects(), `${form}.bpf.o`), join(objects, 'sockops.bpf.o'));
      const { rows } = await runMatrix(mesh, { backends: ['ebpf'], families: [4, 6], objects });
      const failed = rows.flatMap(({ case: tried, outcomes }) =>
        failures(outcomes).map((failure) => `${tried.who} to ${tried.to}, IPv${tried.family}: ${failure}`),
      );
      assert.deepEqual(failed, []);
      assert.ok(rows.length >= 150, `${rows.length} cases`);
    });
