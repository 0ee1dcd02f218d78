/** Longest line that a value may fill before it is broken over several. */
const WIDTH = 120;

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
  // Each element takes three characters or more; a long list is not built twice only to see that.
  const long = Array.isArray(value) && value.length * 3 > WIDTH;
  const line = long ? '' : compactJson(value);
  if (
    (!long && line.length + indent + label <= WIDTH) ||
    typeof value !== 'object' ||
    value === null ||
    value instanceof Uint8Array
  ) {
    return line;
  }
  const margin = ' '.repeat(indent + 2);
  const parts = Array.isArray(value)
    ? value.map((element) => pretty(element, indent + 2, 0))
    : Object.entries(value).flatMap(([key, field]) =>
        field === undefined ? [] : [`${JSON.stringify(key)}: ${pretty(field, indent + 2, key.length + 4)}`],
      );
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  return `${open}\n${margin}${parts.join(`,\n${margin}`)}\n${' '.repeat(indent)}${close}`;
}
