import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anchorsOf, brokenLinks } from './check-links.mjs';

test('links to files that are not there are found, with their line', () => {
  const faults = brokenLinks('docs/a.md', 'See [this](../package.json) and\n[that](../nothing.md#part).\n');
  assert.deepEqual(faults, ['docs/a.md:2: ../nothing.md#part: there is no such file']);
});

test('pictures and HTML links count', () => {
  const faults = brokenLinks(
    'README.md',
    '![p](no.svg) <img src="no.png"> <a href="https://example.org">x</a>',
  );
  assert.deepEqual(faults.length, 2);
});

test('code, web addresses and mail addresses are left alone', () => {
  const text = '```\n[a](no.md)\n```\n`[b](no.md)` [c](https://example.org/no.md) [d](mailto:a@example.org)';
  assert.deepEqual(brokenLinks('README.md', text), []);
});

test("anchors are GitHub's", () => {
  const headings = '# One, two & `three`\n## Same\n## Same\n```\n# no\n```\n<a id="own"></a>';
  assert.deepEqual(anchorsOf(headings), ['one-two-', 'same', 'same-1', 'own']);
});
