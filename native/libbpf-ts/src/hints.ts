const CAPABILITIES =
  'run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (kernels before 5.8: CAP_SYS_ADMIN)';

const OBJECT_HINT = 'is it an object of `clang -O2 -g -target bpf -c`? -g is needed for BTF';

/** What to do, by what was done to what ('load map pods') and errno name. The first row that matches wins. */
const HINTS: readonly { op: RegExp; code: string; hint: string }[] = [
  {
    op: /^pin/,
    code: 'EPERM',
    hint: 'pins live on bpffs only: mount -t bpf bpf /sys/fs/bpf, and pin below that mount',
  },
  {
    op: /^pin/,
    code: 'ENOENT',
    hint: 'the directory is missing; is bpffs mounted? mount -t bpf bpf /sys/fs/bpf',
  },
  {
    op: /^pin/,
    code: 'EEXIST',
    hint: 'something is pinned there already: open it with fromPin, or remove the file first',
  },
  {
    op: /^open pin/,
    code: 'ENOENT',
    hint: 'nothing is pinned there, or bpffs is not mounted: mount -t bpf bpf /sys/fs/bpf',
  },
  { op: /^open pin/, code: 'EACCES', hint: 'the file is not on bpffs, or it pins something else' },
  {
    op: /^list|^open by id/,
    code: 'EPERM',
    hint: 'reading objects by id needs CAP_SYS_ADMIN (CAP_BPF is not enough)',
  },
  { op: /^load/, code: 'EPERM', hint: `${CAPABILITIES}; on kernels before 5.11 also raise RLIMIT_MEMLOCK` },
  { op: /./, code: 'EPERM', hint: CAPABILITIES },
  { op: /^load map/, code: 'E2BIG', hint: 'the map is larger than the kernel allows: lower maxEntries' },
  {
    op: /^load map/,
    code: 'EINVAL',
    hint: 'this kernel refuses its type, flags or sizes; features.probe() tells which types it has',
  },
  {
    op: /^load/,
    code: 'EACCES',
    hint: 'the verifier refused the program: error.log has its reasoning, the last line names the fault',
  },
  {
    op: /^load/,
    code: 'E2BIG',
    hint: 'the program or its verification exceeds a kernel limit (1 million instructions visited since 5.2, 4096 before): split it or bound its loops',
  },
  {
    op: /^load/,
    code: 'ENOSPC',
    hint: 'the verifier log outgrew its buffer; the program was refused for another reason that the log starts with',
  },
  {
    op: /^load/,
    code: 'ENOENT',
    hint: 'a kernel type, symbol or pin directory that the object needs is missing; is bpffs mounted, and /sys/kernel/btf/vmlinux there?',
  },
  {
    op: /^load/,
    code: 'ESRCH',
    hint: 'this kernel has no type or symbol of that name: it is older than the program, or built without the option',
  },
  {
    op: /^load/,
    code: 'EINVAL',
    hint: 'this kernel does not know the program or map type, a helper or a flag; features.probe() tells which',
  },
  {
    op: /^load/,
    code: 'ENOMEM',
    hint: 'not enough memory for the maps: lower maxEntries or raise the memory limit of the cgroup',
  },
  {
    op: /^attach/,
    code: 'EINVAL',
    hint: 'the program does not fit this target: cgroup programs want a cgroup v2 directory, and the attach type of their section',
  },
  {
    op: /^attach/,
    code: 'EBADF',
    hint: 'the target is not a cgroup v2 directory or the descriptor is closed',
  },
  {
    op: /^attach/,
    code: 'E2BIG',
    hint: 'the hook is full (64 programs for a cgroup or netns, a kernel limit)',
  },
  { op: /^attach/, code: 'EEXIST', hint: 'another program holds this hook exclusively' },
  { op: /^attach|^update link/, code: 'ENOLINK', hint: 'what the link was attached to is gone' },
  {
    op: /^update link/,
    code: 'EINVAL',
    hint: 'the new program must have the type and attach type of the one it replaces',
  },
  { op: /^update|^set/, code: 'E2BIG', hint: 'the map is full, or the index is beyond maxEntries' },
  { op: /^update|^set/, code: 'ENOSPC', hint: 'the map is full: raise maxEntries before load' },
  { op: /^update|^set/, code: 'EEXIST', hint: "the key is there already and the flag was 'noexist'" },
  { op: /^update|^set/, code: 'ENOENT', hint: "the key is not there and the flag was 'exist'" },
  {
    op: /^update|^set/,
    code: 'ENOMEM',
    hint: 'the kernel could not allocate the entry; is the memory limit of the cgroup reached?',
  },
  { op: /^open/, code: 'LIBBPF_LIBELF', hint: OBJECT_HINT },
  { op: /^open/, code: 'LIBBPF_FORMAT', hint: OBJECT_HINT },
  { op: /^open object/, code: 'EINVAL', hint: OBJECT_HINT },
  { op: /^open/, code: 'LIBBPF_ENDIAN', hint: 'compile it for this byte order: -target bpfel or bpfeb' },
  { op: /./, code: 'EMFILE', hint: 'too many open files: close maps and links, or raise RLIMIT_NOFILE' },
];

/** The hint for a failure. @param op with its target, 'load program connect4' */
export function hintFor(op: string, code: string): string | undefined {
  return HINTS.find((row) => row.code === code && row.op.test(op))?.hint;
}
