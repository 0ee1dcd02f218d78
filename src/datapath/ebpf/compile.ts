/** Builds bpf/ with the node's own clang, for a node whose operator wants to run what can be read. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ShuntError } from '../../errors.ts';
import { packageRoot } from '../../package_root.ts';

const run = promisify(execFile);

/** Objects that were built ahead. */
export function builtObjects(): string {
  return join(packageRoot(), 'dist', 'bpf');
}

/**
 * Compiles every program.
 *
 * @param into directory to write the objects to; made where it is missing
 * @param source directory of the *.bpf.c files
 * @returns the directory
 * @throws SHUNT_E_COMPILE with clang's own words
 */
export async function compileObjects(into: string, source = join(packageRoot(), 'bpf')): Promise<string> {
  mkdirSync(into, { recursive: true, mode: 0o700 });
  for (const file of readdirSync(source).filter((name) => name.endsWith('.bpf.c'))) {
    const output = join(into, file.replace(/\.c$/, '.o'));
    const include = await multiarchInclude();
    const flags = ['-O2', '-g', '-target', 'bpf', '-mcpu=v3', '-Wall', '-Werror', ...include];
    try {
      await run('clang', [...flags, '-c', join(source, file), '-o', output]);
    } catch (cause) {
      const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : String(cause);
      throw new ShuntError('SHUNT_E_COMPILE', said === '' ? String(cause) : said, { target: file, cause });
    }
  }
  return into;
}

/** Debian keeps asm/ headers below the machine's own triplet, which clang does not look in for the BPF target. */
async function multiarchInclude(): Promise<string[]> {
  const { stdout } = await run('clang', ['-print-target-triple']).catch(() => ({ stdout: '' }));
  const [machine = ''] = stdout.trim().split('-');
  const path = `/usr/include/${machine}-linux-gnu`;
  return existsSync(path) ? [`-I${path}`] : [];
}
