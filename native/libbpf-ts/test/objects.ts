import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCES = fileURLToPath(new URL('bpf/', import.meta.url));
const compiled = new Map<string, string>();
let directory: string | undefined;

/** Debian keeps asm/types.h in a directory named after the architecture, where `-target bpf` does not look. */
function multiarchInclude(): string[] {
  const machine = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
  return [`-I/usr/include/${machine}-linux-gnu`];
}

/** Compiles a BPF source file. @returns path of the object file, which goes with this process */
export function compile(source: string): string {
  const known = compiled.get(source);
  if (known !== undefined) return known;
  if (directory === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'libbpf-ts-'));
    process.once('exit', () => rmSync(made, { recursive: true }));
    directory = made;
  }
  const object = join(directory, basename(source).replace(/\.c$/, '.o'));
  const flags = ['-O2', '-g', '-target', 'bpf', '-Wall', '-Werror', ...multiarchInclude()];
  execFileSync('clang', [...flags, '-c', source, '-o', object], { stdio: 'pipe' });
  compiled.set(source, object);
  return object;
}

/** Compiles test/bpf/<name>.bpf.c. */
export function objectFile(name: string): string {
  return compile(join(SOURCES, `${name}.bpf.c`));
}
