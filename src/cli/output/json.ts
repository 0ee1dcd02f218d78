/** Longest line that a value may fill before it is broken over several. */
const WIDTH = 120;
/** A list longer than this has each element on one line, however long that is: for grep, and for time. */
const LONG_LIST = 100;

/**
 * A value as JSON people can read: what fits on a line stays on one. 64-bit values are decimal strings, since a
 * JSON number is not exact past 2^53; bytes are hex strings.
 */
export function renderJson(value: unknown): string {
  return `${pretty(value, 0, 0)}\n`;
}

/** The same on one line. */
export function compactJson(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : 'null';
  if (typeof value === 'bigint') return `"${value}"`;
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value !== 'object' || value === null) return 'null';
  if (value instanceof Uint8Array) return `"${hex(value)}"`;
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    let text = '[';
    for (let index = 0; index < value.length; index += 1) {
      text += (index === 0 ? '' : ', ') + compactJson(value[index]);
    }
    return `${text}]`;
  }
  let text = '';
  for (const [key, field] of Object.entries(value)) {
    if (field === undefined) continue;
    text += `${text === '' ? '{ ' : ', '}${JSON.stringify(key)}: ${compactJson(field)}`;
  }
  return text === '' ? '{}' : `${text} }`;
}

/** On one line without blanks, three times as fast: what a dump of 100,000 entries is written with. */
function denseJson(value: unknown): string {
  return (
    JSON.stringify(value, (_, field) => {
      if (typeof field === 'bigint') return field.toString();
      return field instanceof Uint8Array ? hex(field) : field;
    }) ?? 'null'
  );
}

/** The value with nothing in it that JSON or YAML cannot hold. */
export function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, field]) => (field === undefined ? [] : [[key, plain(field)]])),
  );
}

export function hex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}

/** @param label characters that stand before the value on its line */
function pretty(value: unknown, indent: number, label: number): string {
  const long = Array.isArray(value) && value.length > LONG_LIST;
  const line = long ? '' : compactJson(value);
  const fits = !long && line.length + indent + label <= WIDTH;
  if (fits || typeof value !== 'object' || value === null || value instanceof Uint8Array) return line;
  const margin = ' '.repeat(indent + 2);
  const parts = Array.isArray(value)
    ? value.map((element) => (long ? denseJson(element) : pretty(element, indent + 2, 0)))
    : Object.entries(value).flatMap(([key, field]) =>
        field === undefined ? [] : [`${JSON.stringify(key)}: ${pretty(field, indent + 2, key.length + 4)}`],
      );
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  return `${open}\n${margin}${parts.join(`,\n${margin}`)}\n${' '.repeat(indent)}${close}`;
}
