import type { MapEntry } from '../datapath/ebpf/inspect.ts';
import { compactJson, hex } from './output/json.ts';
import type { Column } from './output/table.ts';

/**
 * Columns for entries of any map: a struct's fields become columns of their own, so that a map reads like a table.
 * Padding is for `-o json` only.
 *
 * @param sample any of the map's entries, which are all of one shape
 */
export function entryColumns(sample: MapEntry): Column<MapEntry>[] {
  return [
    ...columnsOf('KEY', sample.key, (entry) => entry.key),
    ...columnsOf('VALUE', sample.value, (entry) => entry.value),
  ];
}

function columnsOf(head: string, sample: unknown, part: (entry: MapEntry) => unknown): Column<MapEntry>[] {
  if (!isStruct(sample)) return [{ head, cell: (entry) => text(part(entry)) }];
  return Object.keys(sample)
    .filter((field) => !/^_*pad/.test(field))
    .map((field) => ({
      head: field.replaceAll('_', ' ').toUpperCase(),
      cell(entry) {
        const value = part(entry);
        return isStruct(value) ? text(value[field]) : text(value);
      },
    }));
}

function isStruct(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' || typeof value === 'number') return String(value);
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value) && value.every((element) => typeof element === 'string')) return value.join('|');
  // Quotes around names and 64-bit numbers are JSON's need, not the reader's.
  return compactJson(value).replaceAll('"', '');
}
