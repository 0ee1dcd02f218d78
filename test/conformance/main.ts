#!/usr/bin/env node
/** `npm run test:conformance`: our backends against each mesh's own rules, connection by connection. */
import { flags } from '../../src/lab/flags.ts';
import { BACKENDS, type Backend, type MaxTier } from './bed.ts';
import { type Matrix, runMatrix } from './matrix.ts';
import { type Family, MESHES } from './meshes.ts';
import { countLines, countsOf, failures, markdown, textTable } from './table.ts';

const NAMES = MESHES.map(({ name }) => name).join('|');
const USAGE = `usage: npm run test:conformance -- [--mesh ${NAMES}|all] [--backend ${BACKENDS.join('|')}]... [--family 4|6]
                                        [--max-tier 1|2|3] [--markdown] [--failed]
  --max-tier  of the eBPF backend
  --markdown  what docs/conformance.md holds, instead of the table
  --failed    only cases that failed
`;

const TIERS: readonly MaxTier[] = [1, 2, 3];

async function main(): Promise<number> {
  const { values } = flags(USAGE, {
    options: {
      mesh: { type: 'string', default: 'all' },
      backend: { type: 'string', multiple: true, default: [...BACKENDS] },
      family: { type: 'string', multiple: true, default: ['4', '6'] },
      'max-tier': { type: 'string', default: '3' },
      markdown: { type: 'boolean', default: false },
      failed: { type: 'boolean', default: false },
    },
  });
  const meshes = MESHES.filter(({ name }) => values.mesh === 'all' || name === values.mesh);
  const backends = values.backend.filter((name): name is Backend => BACKENDS.some((known) => known === name));
  const families = values.family
    .map(Number)
    .filter((family): family is Family => family === 4 || family === 6);
  const maxTier = TIERS.find((tier) => String(tier) === values['max-tier']);
  const understood = backends.length === values.backend.length && families.length === values.family.length;
  if (meshes.length === 0 || !understood || maxTier === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const matrices: Matrix[] = [];
  for (const mesh of meshes) {
    const matrix = await runMatrix(mesh, { backends, families, maxTier });
    const rows = values.failed
      ? matrix.rows.filter(({ outcomes }) => failures(outcomes).length > 0)
      : matrix.rows;
    if (!values.markdown && rows.length > 0) process.stdout.write(`${textTable([{ ...matrix, rows }])}\n`);
    matrices.push(matrix);
  }
  const counts = countsOf(matrices, backends);
  const twice = matrices.filter(({ besideHits }) => (besideHits ?? 0) > 0);
  for (const { mesh, besideHits } of twice) {
    process.stderr.write(`${mesh.name}: its rules took ${besideHits} packets that eBPF had decided on\n`);
  }
  process.stdout.write(values.markdown ? `${markdown(matrices, backends)}\n` : `\n${countLines(counts)}\n`);
  return twice.length > 0 || counts.some(({ failed }) => failed > 0) ? 1 : 0;
}

process.exitCode = await main();
