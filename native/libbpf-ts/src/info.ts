import { errnoError } from './errors.ts';
import { addressOf, libbpf } from './ffi.ts';
import {
  ATTACH_TYPES,
  type AttachType,
  LINK_TYPES,
  LITTLE_ENDIAN,
  type LinkType,
  MAP_TYPES,
  type MapType,
  nameOf,
  OBJ_NAME_LENGTH,
  PROGRAM_TYPES,
  type ProgramType,
} from './uapi.ts';

/** A name of this package's tables, or `type_<n>` where the kernel is newer. */
export type Named<T extends string> = T | `type_${number}`;

export interface MapInfo {
  id: number;
  /** At most 15 bytes: the kernel cuts longer names. */
  name: string;
  type: Named<MapType>;
  /** Bytes. */
  keySize: number;
  /** Bytes, of one CPU's value for per-CPU maps. */
  valueSize: number;
  maxEntries: number;
  /** BPF_F_* bits. */
  flags: number;
  /** 0 when the map was made without BTF. */
  btfId: number;
  btfKeyTypeId: number;
  btfValueTypeId: number;
}

export interface ProgramInfo {
  id: number;
  name: string;
  type: Named<ProgramType>;
  /** The kernel's hash of the instructions, 16 hex digits. */
  tag: string;
  /** Nanoseconds since boot. */
  loadedAtNs: bigint;
  uid: number;
  btfId: number;
  /** Bytes of the translated and of the machine code; 0 without the right to read them. */
  xlatedBytes: number;
  jitedBytes: number;
  /** 0 unless `sysctl kernel.bpf_stats_enabled=1` (kernel 5.1). */
  runTimeNs: bigint;
  runCount: bigint;
  /** Instructions that the verifier visited (kernel 5.16); 0 before. */
  verifiedInstructions: number;
  /** Ids of the maps it uses. */
  mapIds: number[];
}

export interface LinkInfo {
  id: number;
  type: Named<LinkType>;
  programId: number;
  attachType?: Named<AttachType>;
  /** kernfs id of the cgroup; 0 when the cgroup is gone. */
  cgroupId?: bigint;
  /** 0 when the network namespace is gone. */
  netnsIno?: number;
  /** Iterators: what is walked, 'bpf_sk_storage_map', 'tcp', and the map if it is one. */
  iterTarget?: string;
  mapId?: number;
  /** False when the cgroup or namespace that it was attached to is gone; undefined where the kernel cannot tell. */
  attached?: boolean;
}

const INFO_BYTES = 512;
const MAX_MAP_IDS = 64;

/** Reads `struct bpf_*_info`. Kernels older than the struct leave its tail zero. */
function infoOf(fd: number, target: string, fill?: (view: DataView) => void): DataView {
  const view = new DataView(new ArrayBuffer(INFO_BYTES));
  fill?.(view);
  const length = new Uint32Array([INFO_BYTES]);
  const result = libbpf.bpf_obj_get_info_by_fd(fd, view, length);
  if (result < 0) throw errnoError(result, 'read info of', target);
  return view;
}

function nameAt(view: DataView, offset: number): string {
  const bytes = new Uint8Array(view.buffer, offset, OBJ_NAME_LENGTH);
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? OBJ_NAME_LENGTH : end)).toString('utf8');
}

/** What the kernel says of a map. @throws BpfError EINVAL when the descriptor is not a map's */
export function mapInfo(fd: number): MapInfo {
  const view = infoOf(fd, 'map');
  const u32 = (offset: number): number => view.getUint32(offset, LITTLE_ENDIAN);
  return {
    id: u32(4),
    name: nameAt(view, 24),
    type: nameOf(MAP_TYPES, u32(0)),
    keySize: u32(8),
    valueSize: u32(12),
    maxEntries: u32(16),
    flags: u32(20),
    btfId: u32(64),
    btfKeyTypeId: u32(68),
    btfValueTypeId: u32(72),
  };
}

/** What the kernel says of a program. */
export function programInfo(fd: number): ProgramInfo {
  const mapIds = new Uint32Array(MAX_MAP_IDS);
  const view = infoOf(fd, 'program', (info) => {
    info.setUint32(52, MAX_MAP_IDS, LITTLE_ENDIAN);
    info.setBigUint64(56, addressOf(mapIds), LITTLE_ENDIAN);
  });
  const u32 = (offset: number): number => view.getUint32(offset, LITTLE_ENDIAN);
  const u64 = (offset: number): bigint => view.getBigUint64(offset, LITTLE_ENDIAN);
  return {
    id: u32(4),
    name: nameAt(view, 64),
    type: nameOf(PROGRAM_TYPES, u32(0)),
    tag: Buffer.from(view.buffer, 8, 8).toString('hex'),
    loadedAtNs: u64(40),
    uid: u32(48),
    btfId: u32(128),
    xlatedBytes: u32(20),
    jitedBytes: u32(16),
    runTimeNs: u64(192),
    runCount: u64(200),
    verifiedInstructions: u32(216),
    mapIds: [...mapIds.subarray(0, Math.min(u32(52), MAX_MAP_IDS))],
  };
}

const TARGET_NAME_BYTES = 64;

/** What the kernel says of a link. */
export function linkInfo(fd: number): LinkInfo {
  const view = infoOf(fd, 'link');
  const u32 = (offset: number): number => view.getUint32(offset, LITTLE_ENDIAN);
  const type = nameOf(LINK_TYPES, u32(0));
  const base: LinkInfo = { id: u32(4), type, programId: u32(8) };
  const attachType = (offset: number): Named<AttachType> => nameOf(ATTACH_TYPES, u32(offset));
  switch (type) {
    case 'cgroup': {
      const cgroupId = view.getBigUint64(16, LITTLE_ENDIAN);
      return { ...base, cgroupId, attachType: attachType(24), attached: cgroupId !== 0n };
    }
    case 'netns':
      return { ...base, netnsIno: u32(16), attachType: attachType(20), attached: u32(16) !== 0 };
    case 'tracing':
      return { ...base, attachType: attachType(16) };
    case 'sockmap':
      return { ...base, mapId: u32(16), attachType: attachType(20) };
    case 'iter':
      return { ...base, ...iterInfo(fd) };
    default:
      return base;
  }
}

/** An iterator's target name is copied to a buffer of the caller's, so it takes a second call. */
function iterInfo(fd: number): { iterTarget: string; mapId?: number } {
  const name = new Uint8Array(TARGET_NAME_BYTES);
  const view = infoOf(fd, 'link', (info) => {
    info.setBigUint64(16, addressOf(name), LITTLE_ENDIAN);
    info.setUint32(24, TARGET_NAME_BYTES, LITTLE_ENDIAN);
  });
  const iterTarget = Buffer.from(name.subarray(0, name.indexOf(0))).toString('utf8');
  const mapId = view.getUint32(28, LITTLE_ENDIAN);
  return iterTarget.endsWith('_map') || iterTarget === 'bpf_map_elem'
    ? { iterTarget, mapId }
    : { iterTarget };
}
