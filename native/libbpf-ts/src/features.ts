import { closeSync, existsSync } from 'node:fs';
import { errnoName } from './errors.ts';
import { libbpf, libbpfVersion } from './ffi.ts';
import {
  ATTACH_TYPES,
  type AttachType,
  LITTLE_ENDIAN,
  MAP_TYPES,
  type MapType,
  numberOf,
  PROGRAM_TYPES,
  type ProgramType,
} from './uapi.ts';

/** Whether the kernel did it, and if not, what it answered. */
export interface Support {
  supported: boolean;
  /** Name of the errno when it is not. */
  code?: string;
}

const MAPS = [
  'hash',
  'array',
  'percpu_hash',
  'percpu_array',
  'lru_hash',
  'lpm_trie',
  'sockhash',
  'sockmap',
  'sk_storage',
  'ringbuf',
] as const satisfies readonly MapType[];

/** Programs by the hook they are for. */
const HOOKS = {
  cgroup_inet4_connect: 'cgroup_sock_addr',
  cgroup_inet6_connect: 'cgroup_sock_addr',
  cgroup_udp4_sendmsg: 'cgroup_sock_addr',
  cgroup_udp6_sendmsg: 'cgroup_sock_addr',
  cgroup_udp4_recvmsg: 'cgroup_sock_addr',
  cgroup_udp6_recvmsg: 'cgroup_sock_addr',
  cgroup_inet4_getpeername: 'cgroup_sock_addr',
  cgroup_inet6_getpeername: 'cgroup_sock_addr',
  cgroup_inet4_post_bind: 'cgroup_sock',
  cgroup_inet6_post_bind: 'cgroup_sock',
  cgroup_sock_ops: 'sock_ops',
  cgroup_getsockopt: 'cgroup_sockopt',
  cgroup_setsockopt: 'cgroup_sockopt',
  sk_msg_verdict: 'sk_msg',
  sk_lookup: 'sk_lookup',
} as const satisfies Partial<Record<AttachType, ProgramType>>;

const ITERATORS = ['tcp', 'bpf_sk_storage_map', 'bpf_map_elem'] as const;

export interface Features {
  /** 'v1.1' */
  libbpf: string;
  /** /sys/kernel/btf/vmlinux is there: programs can be fitted to this kernel. */
  kernelBtf: boolean;
  maps: Record<(typeof MAPS)[number], Support>;
  programs: Record<keyof typeof HOOKS, Support>;
  iterators: Record<(typeof ITERATORS)[number], Support>;
  /** Attaching by bpf_link, which can be pinned and updated in place. */
  links: { cgroup: Support; netns: Support };
  /** Reading and writing thousands of entries in a system call (5.6). */
  batch: Support;
}

/**
 * Finds out what this kernel can do by doing it: maps are made and programs loaded, and closed at once. Nothing is
 * attached. The version number is not asked, since vendors port features back.
 */
async function probe(): Promise<Features> {
  const iterators = {} as Features['iterators'];
  for (const name of ITERATORS) iterators[name] = await probeIterator(name);
  return {
    libbpf: libbpfVersion().text,
    kernelBtf: existsSync('/sys/kernel/btf/vmlinux'),
    maps: table(MAPS, probeMap),
    programs: table(Object.keys(HOOKS) as (keyof typeof HOOKS)[], (hook) => closed(loadFor(hook))),
    iterators,
    links: {
      cgroup: probeLink('cgroup_inet4_connect'),
      netns: probeLink('sk_lookup'),
    },
    batch: probeBatch(),
  };
}

/** Feature probes: what this machine's kernel can do, found out by doing it. */
export const features = { probe } as const;

function table<const K extends string>(names: readonly K[], of: (name: K) => Support): Record<K, Support> {
  const result = {} as Record<K, Support>;
  for (const name of names) result[name] = of(name);
  return result;
}

/** A descriptor or a negative errno, closed and judged. */
function closed(fd: number): Support {
  if (fd < 0) return { supported: false, code: errnoName(fd) };
  closeSync(fd);
  return { supported: true };
}

const BPF_F_NO_PREALLOC = 1;

function probeMap(type: MapType): Support {
  switch (type) {
    case 'ringbuf':
      return closed(createMap(type, 0, 0, 4096, 0));
    case 'lpm_trie':
      return closed(createMap(type, 8, 4, 1, BPF_F_NO_PREALLOC));
    case 'sk_storage':
      return probeSkStorage();
    default:
      return closed(createMap(type, 4, 4, 1, 0));
  }
}

function createMap(
  type: MapType,
  key: number,
  value: number,
  entries: number,
  flags: number,
  btfFd = 0,
): number {
  const opts = new DataView(new ArrayBuffer(56)); // struct bpf_map_create_opts
  opts.setBigUint64(0, 56n, LITTLE_ENDIAN);
  opts.setUint32(8, btfFd, LITTLE_ENDIAN);
  if (btfFd !== 0) {
    opts.setUint32(12, 1, LITTLE_ENDIAN); // key and value are type 1, the int
    opts.setUint32(16, 1, LITTLE_ENDIAN);
  }
  opts.setUint32(28, flags, LITTLE_ENDIAN);
  return libbpf.bpf_map_create(numberOf(MAP_TYPES, type), 'probe', key, value, entries, opts);
}

/** Storage maps are refused without BTF, so a blob with nothing but an int is loaded for them. */
function probeSkStorage(): Support {
  const blob = new DataView(new ArrayBuffer(24 + 16 + 5));
  const u32 = (at: number, value: number): void => blob.setUint32(at, value, LITTLE_ENDIAN);
  blob.setUint16(0, 0xeb9f, LITTLE_ENDIAN);
  blob.setUint8(2, 1); // version
  u32(4, 24); // header
  u32(12, 16); // bytes of types
  u32(16, 16); // strings start
  u32(20, 5);
  u32(24, 1); // "int"
  u32(28, 1 << 24); // BTF_KIND_INT
  u32(32, 4);
  u32(36, (1 << 24) | 32); // signed, 32 bits
  new Uint8Array(blob.buffer).set(Buffer.from('\0int\0'), 40);
  const btfFd = libbpf.bpf_btf_load(blob, blob.byteLength, null);
  if (btfFd < 0) return { supported: false, code: errnoName(btfFd) };
  try {
    return closed(createMap('sk_storage', 4, 4, 0, BPF_F_NO_PREALLOC, btfFd));
  } finally {
    closeSync(btfFd);
  }
}

/** `r0 = value; exit` */
function returning(value: number): DataView {
  const code = new DataView(new ArrayBuffer(16));
  code.setUint8(0, 0xb7); // BPF_ALU64 | BPF_MOV | BPF_K
  code.setInt32(4, value, LITTLE_ENDIAN);
  code.setUint8(8, 0x95); // BPF_JMP | BPF_EXIT
  return code;
}

function load(type: ProgramType, attachType: AttachType, result: number, attachBtfId = 0): number {
  const opts = new DataView(new ArrayBuffer(104)); // struct bpf_prog_load_opts
  opts.setBigUint64(0, 104n, LITTLE_ENDIAN);
  opts.setUint32(12, numberOf(ATTACH_TYPES, attachType), LITTLE_ENDIAN);
  opts.setUint32(32, attachBtfId, LITTLE_ENDIAN);
  const kind = numberOf(PROGRAM_TYPES, type);
  return libbpf.bpf_prog_load(kind, 'probe', 'GPL', returning(result), 2, opts);
}

function loadFor(hook: keyof typeof HOOKS): number {
  return load(HOOKS[hook], hook, 1);
}

async function probeIterator(name: string): Promise<Support> {
  const type = numberOf(ATTACH_TYPES, 'trace_iter');
  // Reads all of the kernel's BTF, so not on this thread.
  const id = await libbpf.libbpf_find_vmlinux_btf_id.later(name, type);
  if (id < 0) return { supported: false, code: errnoName(id) };
  return closed(load('tracing', 'trace_iter', 0, id));
}

/** Links to a descriptor that is none: a kernel with the link says so, one without does not get that far. */
function probeLink(hook: keyof typeof HOOKS): Support {
  const program = loadFor(hook);
  if (program < 0) return { supported: false, code: errnoName(program) };
  try {
    const result = libbpf.bpf_link_create(program, -1, numberOf(ATTACH_TYPES, hook), null);
    const code = errnoName(result);
    return code === 'EBADF' ? { supported: true } : { supported: false, code };
  } finally {
    closeSync(program);
  }
}

function probeBatch(): Support {
  const map = createMap('hash', 4, 4, 1, 0);
  if (map < 0) return { supported: false, code: errnoName(map) };
  try {
    const result = libbpf.bpf_map_update_batch(
      map,
      new Uint32Array(1),
      new Uint32Array(1),
      new Uint32Array([1]),
      null,
    );
    return result < 0 ? { supported: false, code: errnoName(result) } : { supported: true };
  } finally {
    closeSync(map);
  }
}
