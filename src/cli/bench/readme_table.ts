/** The few figures of README.md, taken from docs/performance.md, so that the two tell of one run. */

const ROWS = ['64 B', '4 KB'] as const;
/** Columns of the page, and what the README calls them. */
const COLUMNS = [
  ['direct', 'no redirection'],
  ['iptables', 'iptables REDIRECT'],
  ['redirect', 'Shunt, redirect alone'],
  ['accelerated', 'Shunt'],
] as const;
const HEAD = `| round trip, app - sidecar - sidecar - app | ${COLUMNS.map(([, title]) => title).join(' | ')} |`;
const TABLE = new RegExp(`^${HEAD.replaceAll('|', '\\|')}\\n(?:\\|.*\\n)+`, 'm');

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** @param page docs/performance.md @throws Error when it has no such case */
function readmeTable(page: string): string {
  const lines = page.split('\n');
  const head = cellsOf(lines.find((line) => line.startsWith('| case |')) ?? '');
  const rows = ROWS.map((size) => {
    const start = `| round trip, pod to pod, ${size}: p50, us | one core |`;
    const line = lines.find((each) => each.startsWith(start));
    if (line === undefined) throw new Error(`docs/performance.md has no row "${start}"`);
    const cells = COLUMNS.map(([contender]) => short(cellsOf(line)[head.indexOf(contender)] ?? ''));
    return `| ${[size, ...cells].join(' | ')} |\n`;
  });
  return `${HEAD}\n|---|---|---|---|---|\n${rows.join('')}`;
}

/** `26.8 (0.25, 0.18..0.26)` as `27 us (0.25)`. */
function short(cell: string): string {
  const [, value, ratio] = /^([\d.]+)(?: \(([\d.]+),.*)?$/.exec(cell) ?? [];
  return `${Math.round(Number(value))} us${ratio === undefined ? '' : ` (${ratio})`}`;
}

/** README.md with the figures of that page. @throws Error where either has no such table */
export function withFigures(readme: string, page: string): string {
  if (!TABLE.test(readme)) throw new Error('README.md has no table of round trips');
  return readme.replace(TABLE, () => readmeTable(page));
}
