/** Ratios to iptables as bars: an SVG without a script, a font or anything else from outside. */

import { ratio } from '../../lab/statistics.ts';
import { CONTENDERS, type Contender } from './contenders.ts';
import type { Measurement } from './measure.ts';

const SHOWN: readonly Contender[] = CONTENDERS.filter((contender) => contender !== 'iptables');
const FILL: Record<Contender, string> = {
  direct: '#b8bec6',
  iptables: '#444b54',
  redirect: '#5b9bd5',
  accelerated: '#2e7d4f',
  full: '#8a6bbf',
};
const [LEFT, BAR, GAP, WIDTH, SCALE, MOST] = [330, 11, 14, 860, 240, 2] as const;

/** What is worth a plot: the medians and rates on one core. */
function isShown({ metric, placement }: Measurement): boolean {
  return placement === 'one core' && ['p50', 'mean', 'rate'].includes(metric.name);
}

function text(x: number, y: number, content: string, more = ''): string {
  const safe = content.replace(/[&<>]/g, (char) => `&#${char.charCodeAt(0)};`);
  return `<text x="${x}" y="${y}" ${more}>${safe}</text>`;
}

/** Time and rate both as "iptables = 1"; a bar that would leave the picture ends at its edge and says its value. */
export function plot(measurements: readonly Measurement[]): string {
  const rows = measurements.filter(isShown);
  const height = 60 + rows.length * (SHOWN.length * BAR + GAP);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">`,
    '<title>Ratios to iptables REDIRECT</title>',
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    text(10, 18, 'Ratio to iptables REDIRECT in the same round (iptables = 1)', 'font-weight="bold"'),
  ];
  SHOWN.forEach((contender, index) => {
    const x = LEFT + index * 130;
    parts.push(`<rect x="${x}" y="28" width="10" height="10" fill="${FILL[contender]}"/>`);
    parts.push(text(x + 15, 37, contender));
  });
  let y = 52;
  for (const row of rows) {
    const base = row.values.find(({ contender }) => contender === 'iptables')?.rounds ?? [];
    const better = row.metric.better === 'lower' ? 'less is better' : 'more is better';
    parts.push(text(10, y + BAR + 4, `${row.title}, ${row.metric.name} (${better})`));
    SHOWN.forEach((contender, index) => {
      const own = row.values.find((value) => value.contender === contender)?.rounds;
      if (own === undefined) return;
      const { median } = ratio(own, base);
      const top = y + index * BAR;
      const length = Math.min(median, MOST) * SCALE;
      parts.push(
        `<rect x="${LEFT}" y="${top}" width="${length.toFixed(1)}" height="${BAR - 2}" fill="${FILL[contender]}"/>`,
        text(LEFT + length + 4, top + BAR - 3, median.toFixed(2)),
      );
    });
    y += SHOWN.length * BAR + GAP;
  }
  const one = LEFT + SCALE;
  parts.push(
    `<line x1="${one}" y1="44" x2="${one}" y2="${y - GAP}" stroke="${FILL.iptables}" stroke-dasharray="3 3"/>`,
  );
  return `${parts.join('\n')}\n</svg>\n`;
}
