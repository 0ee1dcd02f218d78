import type { OwnProgram } from '../datapath/ebpf/inspect.ts';
import type { Context } from './context.ts';
import type { Column } from './output/table.ts';
import { writeList } from './output/writer.ts';

const COLUMNS: readonly Column<OwnProgram>[] = [
  { head: 'ID', cell: (program) => program.programId },
  { head: 'NAME', cell: (program) => program.name },
  { head: 'TYPE', cell: (program) => program.type },
  { head: 'TAG', cell: (program) => program.tag },
  { head: 'LINKS', cell: (program) => program.links },
  { head: 'LOADED', cell: (program) => program.loadedAt, wide: true },
  { head: 'JITED BYTES', cell: (program) => program.jitedBytes, wide: true },
  { head: 'RUNS', cell: (program) => program.runs, wide: true },
  { head: 'MAP IDS', cell: (program) => program.mapIds, wide: true },
];

export async function listPrograms(context: Context): Promise<undefined> {
  const { listOwnPrograms } = await import('../datapath/ebpf/inspect.ts');
  const view = { kind: 'prog', columns: COLUMNS, name: (program: OwnProgram) => String(program.programId) };
  await writeList(context.io, context.format, view, listOwnPrograms(context.bpffs));
}
