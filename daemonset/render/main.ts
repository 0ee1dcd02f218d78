/** `npm run manifests` writes daemonset/manifests; with --check it says which are not what the chart gives. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MANIFESTS, manifests } from './manifests.ts';

const wanted = manifests();
mkdirSync(MANIFESTS, { recursive: true });
const present = readdirSync(MANIFESTS);

if (process.argv.includes('--check')) {
  const stale = [...wanted].filter(([file, text]) => !present.includes(file) || read(file) !== text);
  for (const [file] of stale)
    process.stdout.write(
      `daemonset/manifests/${file} is not what daemonset/chart gives: npm run manifests\n`,
    );
  const foreign = present.filter((file) => !wanted.has(file));
  for (const file of foreign)
    process.stdout.write(`daemonset/manifests/${file} comes from nowhere: npm run manifests\n`);
  process.exitCode = stale.length + foreign.length === 0 ? 0 : 1;
} else {
  for (const file of present) if (!wanted.has(file)) rmSync(join(MANIFESTS, file));
  for (const [file, text] of wanted) {
    writeFileSync(join(MANIFESTS, file), text);
    process.stdout.write(`daemonset/manifests/${file}\n`);
  }
}

function read(file: string): string {
  return readFileSync(join(MANIFESTS, file), 'utf8');
}
