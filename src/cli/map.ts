import type { MapEntry, PinnedMapInfo } from '../datapath/ebpf/inspect.ts';
import { ShuntError } from '../errors.ts';
import type { Context } from './context.ts';
import { entryColumns } from './entry_columns.ts';
import { compactJson } from './output/json.ts';
import { type Column, renderTable } from './output/table.ts';
import { isForPeople, write, writeList } from './output/writer.ts';

const COLUMNS: readonly Column<PinnedMapInfo>[] = [
  { head: 'NAME', cell: (map) => map.name },
  { head: 'TYPE', cell: (map) => map.type },
  { head: 'ENTRIES', cell: (map) => map.entries ?? '<unknown>' },
  { head: 'CAPACITY', cell: (map) => map.capacity },
  { head: 'KEY', cell: (map) => (map.keyBytes === 0 ? null : map.keyType) },
  { head: 'VALUE', cell: (map) => (map.valueBytes === 0 ? null : map.valueType) },
  { head: 'KEY BYTES', cell: (map) => map.keyBytes, wide: true },
  { head: 'VALUE BYTES', cell: (map) => map.valueBytes, wide: true },
  { head: 'ID', cell: (map) => map.mapId, wide: true },
  { head: 'PIN', cell: (map) => map.path, wide: true },
];

export async function listMaps(context: Context): Promise<undefined> {
  const { listPinnedMaps } = await import('../datapath/ebpf/inspect.ts');
  const view = { kind: 'map', columns: COLUMNS, name: (map: PinnedMapInfo) => map.name };
  await writeList(context.io, context.format, view, listPinnedMaps(context.bpffs));
}

/** @throws SHUNT_E_MAP_UNKNOWN */
export async function dumpMap(context: Context, [name = '']: string[]): Promise<undefined> {
  const { PinnedMap, summed } = await import('../datapath/ebpf/inspect.ts');
  using map = new PinnedMap(context.bpffs, name);
  const view = { kind: name, columns: entryColumns, name: keyText };
  // People read the sum over the CPUs, scripts each CPU's value.
  const rows =
    map.perCpu && isForPeople(context.format)
      ? map.entries().map(({ key, value }) => ({ key, value: summed(value) }))
      : map.entries();
  await writeList(context.io, context.format, view, rows);
}

/** @throws SHUNT_E_MAP_UNKNOWN, SHUNT_E_MAP_KEY, SHUNT_E_MAP_NO_ENTRY */
export async function getEntry(context: Context, [name = '', key = '']: string[]): Promise<undefined> {
  const { PinnedMap, summed } = await import('../datapath/ebpf/inspect.ts');
  using map = new PinnedMap(context.bpffs, name);
  const entry = map.get(key);
  if (entry === undefined)
    throw new ShuntError('SHUNT_E_MAP_NO_ENTRY', undefined, { target: `${name} ${key}` });
  await write(context.io, context.format, {
    data: entry,
    names: () => [`${name}/${keyText(entry)}`],
    text(look) {
      const shown = map.perCpu ? { key: entry.key, value: summed(entry.value) } : entry;
      return renderTable(entryColumns(shown), [shown], look);
    },
  });
}

function keyText({ key }: MapEntry): string {
  return typeof key === 'string' ? key : compactJson(key).replaceAll('"', '');
}
