/** The product rebuilt with a gate that lets everything through: what the suite has to find out. */
import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileObjects } from '../../src/datapath/ebpf/compile.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/**
 * Copies the sources into a folder and builds accelerate.bpf.c there, so that nothing of it can get into what is shipped.
 *
 * @param defines for accelerate.bpf.c
 * @param replace files to write over the copy, by path in the checkout
 * @returns command line of the CLI in the folder
 */
export async function rebuilt(
  folder: string,
  defines: readonly string[],
  replace: Record<string, string> = {},
): Promise<readonly [string, ...string[]]> {
  for (const name of ['src', 'bpf', 'package.json']) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const source = join(folder, 'bpf', 'accelerate.bpf.c');
  const text = readFileSync(source, 'utf8');
  writeFileSync(source, `${defines.map((name) => `#define ${name} 1\n`).join('')}${text}`);
  for (const [path, content] of Object.entries(replace)) writeFileSync(join(folder, path), content);
  cpSync(join(ROOT, 'dist', 'bpf'), join(folder, 'dist', 'bpf'), { recursive: true });
  for (const name of readdirSync(join(folder, 'bpf'))) {
    if (name.endsWith('.bpf.c') && name !== 'accelerate.bpf.c') rmSync(join(folder, 'bpf', name));
  }
  await compileObjects(join(folder, 'dist', 'bpf'), join(folder, 'bpf'));
  return [process.execPath, '--conditions=source', join(folder, 'src/cli/main.ts')];
}
