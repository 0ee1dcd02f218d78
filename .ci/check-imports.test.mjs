import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultsOf, LAYERS, layerOf } from './check-imports.mjs';

const CASES = [
  // file, source, rule broken (undefined: none)
  ['src/cli/status.ts', "import { Agent } from '../agent/agent.ts';", undefined],
  ['src/agent/loop.ts', "import { table } from '../cli/output/table.ts';", 'not cli'],
  ['src/agent/loop.ts', "import type { Row } from '../cli/output/table.ts';", 'not cli'],
  ['src/pod/netns.ts', "import { enroll } from '../agent/agent.ts';", 'not agent'],
  ['src/policy/cidr.ts', "import { readFile } from 'node:fs/promises';", 'policy does no I/O'],
  ['src/policy/cidr.ts', "import { isIPv4 } from 'node:net';", undefined],
  ['src/policy/cidr.ts', "import { connect, isIPv4 } from 'node:net';", 'policy does no I/O'],
  ['src/policy/cidr.ts', "import net from 'node:net';", 'policy does no I/O'],
  ['src/policy/cidr.test.ts', "import { readFile } from 'node:fs/promises';", undefined],
  ['src/mesh/istio.ts', "import type { PodObject } from '../pod/workload.ts';", undefined],
  ['src/mesh/istio.ts', "import { netnsOf } from '../pod/netns.ts';", 'mesh takes only types from pod'],
  ['src/mesh/istio.ts', "const fs = await import('node:fs');", 'mesh does no I/O'],
  ['src/datapath/ebpf/maps.ts', "import { BpfMap } from 'libbpf-ts';", undefined],
  [
    'src/datapath/interface.ts',
    "import { BpfMap } from 'libbpf-ts';",
    'only src/datapath/ebpf imports libbpf-ts',
  ],
  ['src/cli/map.ts', "import { BpfMap } from 'libbpf-ts';", 'only src/datapath/ebpf imports libbpf-ts'],
  ['src/cli/map.test.ts', "import { BpfMap } from 'libbpf-ts';", undefined],
  ['src/cli/map.ts', "await import('libbpf-ts');", 'only src/datapath/ebpf imports libbpf-ts'],
  [
    'src/datapath/ebpf/a.ts',
    "export * from '../../../native/libbpf-ts/src/map.ts';",
    "import it as 'libbpf-ts'",
  ],
  ['src/datapath/iptables/a.ts', "import { load } from '../ebpf/objects.ts';", 'not ebpf'],
  [
    'native/libbpf-ts/src/map.ts',
    "import { ShuntError } from '../../../src/errors.ts';",
    'imports nothing of ours',
  ],
  ['native/libbpf-ts/src/map.ts', "import * as v from 'valibot';", 'is in no package.json'],
  ['native/libbpf-ts/src/ffi.ts', "import koffi from 'koffi';", undefined],
  ['src/cli/status.ts', "import koffi from 'koffi';", 'may import koffi'],
  ['src/agent/loop.ts', "import { Command } from 'commander';", 'only cli may import commander'],
  ['src/agent/loop.ts', "import leftPad from 'left-pad';", 'is in no package.json'],
  ['src/agent/loop.ts', "import { readFileSync } from 'fs';", 'write node:fs'],
  ['src/cli/demo/demo.ts', "import { Topology } from '../../lab/topology.ts';", undefined],
  ['src/cli/status.ts', "import { Topology } from '../lab/topology.ts';", 'import the test bed'],
  ['src/pod/netns.test.ts', "import { Topology } from '../lab/topology.ts';", undefined],
  ['src/lab/envoy.ts', "import { Agent } from '../agent/agent.ts';", 'not agent'],
  ['test/e2e/demo.test.ts', "import { Agent } from '../../src/agent/agent.ts';", undefined],
  ['src/version.ts', "import manifest from '../package.json' with { type: 'json' };", undefined],
  ['src/stray.ts', '', 'lies in no layer'],
];

for (const [file, source, rule] of CASES) {
  test(`${file}: ${source || 'nothing'} ${rule ? `is refused (${rule})` : 'is allowed'}`, () => {
    const faults = faultsOf(file, `// one line before\n${source}\n`);
    assert.equal(faults.length, rule === undefined ? 0 : 1, faults.join('\n'));
    if (rule === undefined) return;
    assert.ok(faults[0].includes(rule), faults[0]);
    if (source !== '') assert.ok(faults[0].startsWith(`${file}:2: `), faults[0]);
  });
}

test('the layers have no cycle', () => {
  const byName = new Map(LAYERS.map((layer) => [layer.name, layer]));
  const visit = (name, path) => {
    assert.ok(!path.includes(name), `${[...path, name].join(' -> ')}`);
    const { may = [] } =
      byName.get(name) ?? assert.fail(`${path.at(-1)} may import ${name}, which is no layer`);
    // The demo is a part of the command line; the two share one output.
    if (may !== '*')
      for (const next of may) if (!(name === 'demo' && next === 'cli')) visit(next, [...path, name]);
  };
  for (const { name } of LAYERS) visit(name, []);
});

test('the longest path names the layer', () => {
  assert.equal(layerOf('src/datapath/ebpf/gen/objects.ts').name, 'ebpf');
  assert.equal(layerOf('src/datapath/interface.ts').name, 'datapath');
  assert.equal(layerOf('src/cli/demo.ts').name, 'demo');
});
