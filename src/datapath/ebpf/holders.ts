/** Who keeps kernel objects alive: processes by their descriptors, and pins of other instances. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Link, openPinnedMap } from 'libbpf-ts';
import { findPins, type Pin } from './pin_tree.ts';

/** Descriptors that name their object in /proc/PID/fdinfo. */
const FD_KINDS = [
  { target: /^anon_inode:bpf-prog$/, line: /^prog_id:\s*(\d+)$/m, kind: 'program' },
  { target: /^anon_inode:bpf-map$/, line: /^map_id:\s*(\d+)$/m, kind: 'map' },
  { target: /^anon_inode:bpf[-_]link$/, line: /^link_id:\s*(\d+)$/m, kind: 'link' },
] as const;

/** By object, `map 12`: `node[4711]` for a process, a path for a pin. */
export function findHolders(): Map<string, Set<string>> {
  const holders = new Map<string, Set<string>>();
  const add = (object: string, holder: string): void => {
    const names = holders.get(object) ?? new Set();
    holders.set(object, names.add(holder));
  };
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const objects = openObjects(pid);
    if (objects.length === 0) continue;
    const command = readable(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim(), 'ended');
    for (const object of objects) add(object, `${command}[${pid}]`);
  }
  for (const parent of pinParents()) {
    for (const pin of findPins(parent)) {
      for (const object of readable(() => pinnedObjects(pin), [])) add(object, pin.path);
    }
  }
  return holders;
}

function openObjects(pid: string): string[] {
  return readable(() => readdirSync(`/proc/${pid}/fd`), []).flatMap((fd) => {
    const target = readable(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '');
    const kind = FD_KINDS.find((candidate) => candidate.target.test(target));
    if (kind === undefined) return [];
    const id = kind.line.exec(readable(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'), ''))?.[1];
    return id === undefined ? [] : [`${kind.kind} ${id}`];
  });
}

/** A link holds its program. */
function pinnedObjects({ kind, path }: Pin): string[] {
  if (kind === 'map') {
    using map = openPinnedMap(path);
    return [`map ${map.info.id}`];
  }
  if (kind !== 'link') return [];
  using link = Link.fromPin(path);
  return [`link ${link.id}`, `program ${link.info().programId}`];
}

/** Directories of every mounted BPF file system that hold a directory `shunt`: --bpffs may name any of them. */
function pinParents(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(' - bpf '))
    .map((line) => line.split(' ')[4] ?? '');
  const found: string[] = [];
  for (let path = mounts.pop(); path !== undefined; path = mounts.pop()) {
    const parent = path;
    const names = readable(() => readdirSync(parent, { withFileTypes: true }), [])
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
    if (names.includes('shunt')) found.push(parent);
    mounts.push(...names.map((name) => join(parent, name)));
  }
  return found;
}

/** A process may end, a file be closed, a pin be removed while we look: what it held is then gone too. */
function readable<T>(read: () => T, gone: T): T {
  try {
    return read();
  } catch {
    return gone;
  }
}
