/** Every pin below <bpffs>/shunt, those that we do not know included. */
import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Pins } from './pins.ts';

export interface Pin {
  kind: 'link' | 'map' | 'directory' | 'other';
  path: string;
}

/**
 * All pins in the order in which to remove them: attachments before the maps their programs read, pods' before the
 * node's, directories when they are empty.
 */
export function findPins(bpffs: string): Pin[] {
  const pins = new Pins(bpffs);
  const found = walk(pins.root);
  const order = (pin: Pin): number => {
    if (pin.kind === 'directory') return 4;
    if (pin.path.startsWith(`${pins.podsRoot}/`)) return 0;
    return { link: 1, other: 2, map: 3 }[pin.kind];
  };
  const kindOf = (path: string): Pin['kind'] => {
    if (path.startsWith(`${pins.links}/`) || path.startsWith(`${pins.podsRoot}/`)) return 'link';
    return path.startsWith(`${pins.maps}/`) ? 'map' : 'other';
  };
  return found
    .map(({ path, directory }): Pin => ({ kind: directory ? 'directory' : kindOf(path), path }))
    .sort((a, b) => order(a) - order(b) || depth(b.path) - depth(a.path) || (a.path < b.path ? -1 : 1));
}

function walk(directory: string): { path: string; directory: boolean }[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  const below = entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? walk(path) : [{ path, directory: false }];
  });
  return [...below, { path: directory, directory: true }];
}

function depth(path: string): number {
  return path.split('/').length;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
