import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Directory of the checkout or installed package that this code runs from, as source or as bundle: where bpf/ and
 * dist/ stand.
 *
 * @throws Error when there is none above, which only a bundle copied out of its package can see
 */
export function packageRoot(from = import.meta.dirname): string {
  for (let folder = from; ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && /"name":\s*"shunt"/.test(readFileSync(manifest, 'utf8'))) return folder;
    if (dirname(folder) === folder) throw new Error(`no package of Shunt above ${from}`);
  }
}
