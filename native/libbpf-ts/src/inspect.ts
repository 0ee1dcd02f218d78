import { closeSync, openSync } from 'node:fs';
import { errnoError, errnoName } from './errors.ts';
import { libbpf } from './ffi.ts';
import { type LinkInfo, linkInfo, type MapInfo, mapInfo, type ProgramInfo, programInfo } from './info.ts';
import { nodeErrno } from './kernel_object.ts';
import { ATTACH_TYPES, type AttachType, numberOf } from './uapi.ts';

const MAX_ATTACHED = 64;

/** Every map in the kernel, of all processes. Needs CAP_SYS_ADMIN. */
export function listMaps(): Generator<MapInfo, void, void> {
  return list('map', libbpf.bpf_map_get_next_id, libbpf.bpf_map_get_fd_by_id, mapInfo);
}

/** Every program in the kernel. Needs CAP_SYS_ADMIN. */
export function listPrograms(): Generator<ProgramInfo, void, void> {
  return list('program', libbpf.bpf_prog_get_next_id, libbpf.bpf_prog_get_fd_by_id, programInfo);
}

/** Every link in the kernel (ids exist since 5.8). Needs CAP_SYS_ADMIN. */
export function listLinks(): Generator<LinkInfo, void, void> {
  return list('link', libbpf.bpf_link_get_next_id, libbpf.bpf_link_get_fd_by_id, linkInfo);
}

/**
 * Ids of the programs attached to a hook of a cgroup or a network namespace, in the order in which they run there.
 * @param place a cgroup v2 directory, or a file of a network namespace
 * @throws BpfError ENOENT where the place does not exist, EINVAL where it has no such hook
 */
export function attachedPrograms(place: string, attachType: AttachType): number[] {
  let fd: number;
  try {
    fd = openSync(place, 'r');
  } catch (cause) {
    throw errnoError(nodeErrno(cause), 'query', attachType, { detail: `cannot open ${place}`, cause });
  }
  try {
    const ids = new Uint32Array(MAX_ATTACHED);
    const count = Uint32Array.of(MAX_ATTACHED);
    const type = numberOf(ATTACH_TYPES, attachType);
    const result = libbpf.bpf_prog_query(fd, type, 0, new Uint32Array(1), ids, count);
    // ENOSPC: there are more, and those that fit were written.
    if (result < 0 && errnoName(result) !== 'ENOSPC') {
      throw errnoError(result, 'query', attachType, { detail: `of ${place}` });
    }
    return [...ids.subarray(0, Math.min(count[0] ?? 0, MAX_ATTACHED))];
  } finally {
    closeSync(fd);
  }
}

function* list<T>(
  kind: string,
  nextId: (id: number, next: Uint32Array) => number,
  fdById: (id: number) => number,
  infoOf: (fd: number) => T,
): Generator<T, void, void> {
  const next = new Uint32Array(1);
  for (let id = 0; ; ) {
    const result = nextId(id, next);
    if (result < 0) {
      if (errnoName(result) === 'ENOENT') return; // no more
      throw errnoError(result, `list ${kind}s`);
    }
    id = next[0] ?? 0;
    const fd = fdById(id);
    if (fd < 0) {
      if (errnoName(fd) === 'ENOENT') continue; // gone since its id was read
      throw errnoError(fd, 'open by id', `${kind} ${id}`);
    }
    try {
      yield infoOf(fd);
    } finally {
      closeSync(fd);
    }
  }
}
