import type { PinnedLinkInfo } from '../datapath/ebpf/inspect.ts';
import type { Context } from './context.ts';
import type { Column } from './output/table.ts';
import { writeList } from './output/writer.ts';

const COLUMNS: readonly Column<PinnedLinkInfo>[] = [
  { head: 'NAME', cell: (link) => link.name },
  { head: 'ATTACH TYPE', cell: (link) => link.attachType },
  { head: 'TARGET', cell: (link) => link.target },
  { head: 'ATTACHED', cell: (link) => link.attached, tone: (link) => (link.attached ? undefined : 'bad') },
  { head: 'PROGRAM', cell: (link) => link.program },
  { head: 'LINK ID', cell: (link) => link.linkId, wide: true },
  { head: 'PROGRAM ID', cell: (link) => link.programId, wide: true },
  { head: 'PIN', cell: (link) => link.path, wide: true },
];

export async function listLinks(context: Context): Promise<undefined> {
  const { listPinnedLinks } = await import('../datapath/ebpf/inspect.ts');
  const view = { kind: 'link', columns: COLUMNS, name: (link: PinnedLinkInfo) => link.name };
  await writeList(context.io, context.format, view, listPinnedLinks(context.bpffs));
}
