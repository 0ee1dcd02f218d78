import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Everything under .ci/ is plain JavaScript for Node >= 20 and imports no package: it runs before `npm ci`.

/** The checkout. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Where set-up keeps what it fetched and what it remembers; ignored by git, safe to delete. */
export const CACHE = join(ROOT, '.cache');
export const BIN = join(ROOT, 'node_modules', '.bin');
/** The Node that everything of ours runs on, whatever the machine's own is. */
export const NODE = join(BIN, 'node');

/** @param {...string} parts path below the checkout */
export function at(...parts) {
  return join(ROOT, ...parts);
}
