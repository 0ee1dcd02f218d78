import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { withFigures } from './readme_table.ts';

const ROOT = join(import.meta.dirname, '../../..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const PAGE = readFileSync(join(ROOT, 'docs/performance.md'), 'utf8');

describe("README's figures", () => {
  it('are those of docs/performance.md (else: npm run bench -- --markdown docs/performance.md --readme README.md)', () => {
    assert.equal(withFigures(README, PAGE), README);
  });

  it('follow another run, and nothing else of the README does', () => {
    const other = PAGE.replace(
      /^(\| round trip, pod to pod, 64 B: p50, us \| one core \|).*$/m,
      '$1 10.4 (0.10, 0.09..0.11) | 104 | 52.6 (0.51, 0.40..0.60) | 20.5 (0.21, 0.10..0.30) | 1 (0.01, 0..1) |',
    );
    const changed = withFigures(README, other);
    assert.match(changed, /^\| 64 B \| 10 us \(0\.10\) \| 104 us \| 53 us \(0\.51\) \| 21 us \(0\.21\) \|$/m);
    assert.equal(withFigures(changed, PAGE), README);
  });

  it('need a page that has the case', () => {
    assert.throws(
      () => withFigures(README, '| case | CPUs |\n'),
      /has no row "\| round trip, pod to pod, 64 B/,
    );
    assert.throws(() => withFigures('# Shunt\n', PAGE), /no table of round trips/);
  });
});
