import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { packageRoot } from '../package_root.ts';

/** A source file of src/lab that runs on its own, wherever the caller was bundled to. */
export function labSource(...path: string[]): string {
  return join(packageRoot(), 'src', 'lab', ...path);
}

/** First executable regular file of that name in PATH; undefined when there is none. */
export function inPath(name: string, path = process.env.PATH ?? ''): string | undefined {
  return [...path.split(delimiter), '/usr/sbin', '/sbin']
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** First executable regular file of that name below a folder; undefined when there is none. */
export function below(folder: string, name: string): string | undefined {
  if (!existsSync(folder)) return undefined;
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries
    .map((entry) => join(entry.parentPath, entry.name))
    .find((p) => basename(p) === name && isExecutable(p));
}

export function isExecutable(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true && (stat.mode & 0o111) !== 0;
}

/**
 * A path at which any uid can run the program. A checkout often lies below a home directory that only its owner
 * may enter; then the program is linked or copied into `folder`.
 *
 * @param folder world-readable, on a file system that allows execution
 */
export function reachable(program: string, folder: string): string {
  if (openToAll(program)) return program;
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const copy = join(folder, basename(program));
  if (existsSync(copy)) return copy;
  try {
    // A link keeps the file's own mode, so it must already let others run it.
    if ((statSync(program).mode & 0o005) === 0o005) {
      linkSync(program, copy);
      return copy;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
  }
  copyFileSync(program, copy);
  return copy;
}

function openToAll(program: string): boolean {
  if ((statSync(program).mode & 0o005) !== 0o005) return false;
  for (let folder = dirname(program); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false;
    if (dirname(folder) === folder) return true;
  }
}
