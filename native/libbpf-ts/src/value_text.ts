import { badValue } from './errors.ts';

/** 64-bit numbers in JSON, which JSON.parse would round. */
const LONG_NUMBER = /(?<=[:[,]\s*)-?\d{16,}(?=\s*[,}\]])/g;

/**
 * Reads a value as a person types it: JSON; `name=value,name.inner=value` for structs; else the text itself, which
 * the codec takes as a number, a name, hex or a string.
 */
export function parseValueText(text: string): unknown {
  const trimmed = text.trim();
  if (/^[[{"]/.test(trimmed)) {
    try {
      return JSON.parse(trimmed.replace(LONG_NUMBER, '"$&"'));
    } catch (cause) {
      throw badValue(`${trimmed} is not JSON: ${cause instanceof Error ? cause.message : ''}`);
    }
  }
  if (!trimmed.includes('=')) return trimmed;
  const value: Record<string, unknown> = {};
  for (const part of trimmed.split(',')) {
    const at = part.indexOf('=');
    if (at < 1) throw badValue(`'${part}' is not name=value`);
    place(value, part.slice(0, at).trim().split('.'), part.slice(at + 1).trim());
  }
  return value;
}

function place(into: Record<string, unknown>, path: readonly string[], text: string): void {
  const [name, ...rest] = path;
  if (name === undefined) return;
  if (rest.length === 0) {
    into[name] = text;
    return;
  }
  const inner: Record<string, unknown> = {};
  const existing = into[name];
  if (typeof existing === 'object' && existing !== null) Object.assign(inner, existing);
  into[name] = inner;
  place(inner, rest, text);
}
