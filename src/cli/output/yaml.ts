import { stringify } from 'yaml';
import { plain } from './json.ts';

/** YAML of the same shape as the JSON: 64-bit values are strings there too. */
export function renderYaml(value: unknown): string {
  return stringify(plain(value), { lineWidth: 0, aliasDuplicateObjects: false });
}
