/**
 * Replaces a file that somebody else writes too, without ever losing what they wrote. rename(2) would drop a version
 * that came between our look and our write; here the two files are exchanged in one step (RENAME_EXCHANGE, Linux
 * 3.15), and what came out is looked at: if it is not what we had read, it goes back.
 */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { exchangeFiles, systemErrorCode } from '../pod/syscall.ts';

/** Names that are ours while a write is under way; their ending is none that runtimes read. */
export const UNFINISHED = /^\..*\.shunt-new$/;

/**
 * @param path a regular file; it keeps its owner and mode
 * @param before what it held when `after` was made of it
 * @returns false when it holds something else by now; it is then as the other left it
 */
export function replaceFile(path: string, before: string, after: string): boolean {
  const { mode, uid, gid } = statSync(path);
  const beside = unfinished(path);
  try {
    writeBeside(beside, after, { mode, uid, gid });
    // Nearly always told here, without the old version in its place for a moment.
    if (readFileSync(path, 'utf8') !== before || !exchange(beside, path, before, after)) return false;
    // Only now: a busy disk takes its time, and the pods that start meanwhile go without us.
    sync(path);
    return true;
  } catch (error) {
    // Taken away meanwhile: that counts.
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  } finally {
    rmSync(beside, { force: true });
  }
}

/** Writes a new file and gives it its name in one step. */
export function writeWhole(path: string, content: string | Uint8Array, mode: number): void {
  const beside = unfinished(path);
  try {
    writeBeside(beside, content, { mode });
    sync(beside);
    renameSync(beside, path);
  } finally {
    rmSync(beside, { force: true });
  }
}

/** In the same directory: containerd takes no notice of a file that is renamed from another. */
function unfinished(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.shunt-new`);
}

/**
 * Exchanges the two files, and back again when `path` did not hold `before`.
 *
 * @returns true when `path` now holds `after`
 */
export function exchange(beside: string, path: string, before: string, after: string): boolean {
  let [expected, put] = [before, after];
  for (;;) {
    try {
      exchangeFiles(beside, path);
    } catch (error) {
      if (!['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes(systemErrorCode(error) ?? '')) throw error;
      return renameOver(beside, path, before);
    }
    const found = readFileSync(beside, 'utf8');
    if (found === expected) return put === after;
    // It was written between: back with it, and out with what we put there.
    [expected, put] = [put, found];
  }
}

/** For a file system that cannot exchange (NFS): as near as it gets. */
function renameOver(beside: string, path: string, before: string): boolean {
  if (readFileSync(path, 'utf8') !== before) return false;
  renameSync(beside, path);
  return true;
}

function writeBeside(
  path: string,
  content: string | Uint8Array,
  { mode, uid, gid }: { mode: number; uid?: number; gid?: number },
): void {
  const fd = openSync(path, 'w', mode & 0o777);
  try {
    const bytes = Buffer.from(content);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fchmodSync(fd, mode & 0o777);
    if (uid !== undefined && gid !== undefined) fchownSync(fd, uid, gid);
  } finally {
    closeSync(fd);
  }
}

/** A node that loses power must not come back with an empty file. */
function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
