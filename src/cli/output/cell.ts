/** What a column may hold. Lists are joined by commas; nothing is shown as `<none>`. */
export type Cell =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | readonly (string | number | bigint)[];

/** Terminal escapes and other control characters, which a pod's name or a manifest must not be able to send. */
const CONTROL = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** One line of text, safe for a terminal. */
export function printable(text: string): string {
  return text.replace(CONTROL, (character) => {
    if (character === '\n') return '\\n';
    if (character === '\t') return ' ';
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

export function cellText(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return '<none>';
  if (typeof cell === 'object') return cell.length === 0 ? '<none>' : printable(cell.join(','));
  return printable(String(cell));
}
