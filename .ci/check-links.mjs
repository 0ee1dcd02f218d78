#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { at, ROOT } from './place.mjs';
import { filesUnder } from './setup/stamps.mjs';

const FOLDERS = ['docs', 'native', 'bpf', 'bench', 'test', 'vagrant', 'daemonset'];

/** @returns {string[]} relative links and anchors in our Markdown that lead nowhere */
export function checkLinks() {
  const below = FOLDERS.flatMap((folder) => filesUnder(at(folder), (name) => name.endsWith('.md')));
  const files = [at('README.md'), ...below].filter(existsSync);
  return files.flatMap((file) => brokenLinks(relative(ROOT, file), readFileSync(file, 'utf8')));
}

/**
 * @param {string} file by path below the checkout
 * @param {string} markdown its text
 */
export function brokenLinks(file, markdown) {
  const faults = [];
  for (const [index, line] of proseLines(markdown).entries()) {
    for (const [, target] of line
      .matchAll(/!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)|(?:src|href)="([^"]+)"/g)
      .map(link)) {
      if (/^[a-z][a-z+.-]*:/i.test(target)) continue; // https:, mailto:
      const [path, anchor] = target.split('#');
      const wanted = path === '' ? file : join(dirname(file), decodeURI(path));
      const fault = brokenLink(wanted, anchor);
      if (fault) faults.push(`${file}:${index + 1}: ${target}: ${fault}`);
    }
  }
  return faults;
}

function link(match) {
  return [match[0], match[1] ?? match[2]];
}

function brokenLink(path, anchor) {
  if (!existsSync(at(path))) return 'there is no such file';
  if (!anchor || !path.endsWith('.md')) return undefined;
  const anchors = anchorsOf(readFileSync(at(path), 'utf8'));
  return anchors.includes(anchor) ? undefined : 'there is no such heading';
}

/** The anchors that GitHub gives to headings. */
export function anchorsOf(markdown) {
  const seen = new Map();
  return proseLines(markdown).flatMap((line) => {
    const [, heading] = line.match(/^#{1,6}\s+(.*?)\s*#*$/) ?? [];
    if (heading === undefined) return [...line.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, id]) => id);
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    return count === 0 ? slug : `${slug}-${count}`;
  });
}

/** Lines with code blocks and code spans emptied. */
function proseLines(markdown) {
  let fence;
  return markdown.split('\n').map((line) => {
    const [, mark] = line.match(/^\s*(```+|~~~+)/) ?? [];
    if (fence !== undefined) {
      if (mark?.startsWith(fence)) fence = undefined;
      return '';
    }
    if (mark !== undefined) {
      fence = mark;
      return '';
    }
    return line.replace(/`[^`]*`/g, '');
  });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const faults = checkLinks();
  for (const fault of faults) process.stdout.write(`${fault}\n`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
