import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Where iproute2 and container runtimes name namespaces. */
const NAMED = '/run/netns';

/**
 * A path that opens the network namespace, by its inode; null where none is found. Names come first: a process may end
 * before the path is used.
 */
export function pathOfNetns(inode: bigint): string | null {
  for (const path of candidates()) {
    try {
      if (statSync(path, { bigint: true }).ino === inode) return path;
    } catch {
      // Ended meanwhile, or not ours to look at.
    }
  }
  return null;
}

function* candidates(): Iterable<string> {
  for (const name of entries(NAMED)) yield join(NAMED, name);
  for (const name of entries('/proc')) if (/^\d+$/.test(name)) yield `/proc/${name}/ns/net`;
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
