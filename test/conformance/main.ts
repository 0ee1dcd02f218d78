#!/usr/bin/env node
/** `npm run test:conformance`: our backends against each mesh's own rules, connection by connection. */
import { parseArgs } from 'node:util';
import type { Backend } from './bed.ts';
import { type Matrix, runMatrix } from './matrix.ts';
import { type Family, MESHES } from './meshes.ts';
import { countLines, countsOf, failures, markdown, textTable } from './table.ts';

const NAMES = MESHES.map(({ name }) => name).join('|');
const USAGE = `usage: npm run test:conformance -- [--mesh ${NAMES}|all] [--backend iptables|ebpf]... [--family 4|6]
                                        [--markdown] [--failed]
  --markdown  what docs/conformance.md holds, instead of the table
  --failed    only cases that failed
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      mesh: { type: 'string', default: 'all' },
      backend: { type: 'string', multiple: true, default: ['iptables', 'ebpf'] },
      family: { type: 'string', multiple: true, default: ['4', '6'] },
      markdown: { type: 'boolean', default: false },
      failed: { type: 'boolean', default: false },
    },
  });
  const meshes = MESHES.filter(({ name }) => values.mesh === 'all' || name === values.mesh);
  const backends = values.backend.filter((name): name is Backend => name === 'iptables' || name === 'ebpf');
  const families = values.family
    .map(Number)
    .filter((family): family is Family => family === 4 || family === 6);
  const understood = backends.length === values.backend.length && families.length === values.family.length;
  if (meshes.length === 0 || !understood) {
    process.stderr.write(USAGE);
    return 2;
  }
  const matrices: Matrix[] = [];
  for (const mesh of meshes) {
    const matrix = await runMatrix(mesh, { backends, families });
    const rows = values.failed
      ? matrix.rows.filter(({ outcomes }) => failures(outcomes).length > 0)
      : matrix.rows;
    if (!values.markdown && rows.length > 0) process.stdout.write(`${textTable([{ ...matrix, rows }])}\n`);
    matrices.push(matrix);
  }
  const counts = countsOf(matrices, backends);
  process.stdout.write(values.markdown ? `${markdown(matrices, backends)}\n` : `\n${countLines(counts)}\n`);
  return counts.some(({ failed }) => failed > 0) ? 1 : 0;
}

process.exitCode = await main();
