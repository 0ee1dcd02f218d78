// Debian and Ubuntu packages, by what they are for. `without` marks one that set-up can do without, and says what
// its absence means; `instead` names another package that holds the same.

const NO_RUNTIME = 'that runtime is not played';
const NO_GUEST = 'no guests: `npm run vm`, and the other kernel that `npm test` tries';

export const PACKAGES = [
  { name: 'clang', use: 'build' },
  { name: 'llvm', use: 'build' },
  { name: 'libbpf-dev', use: 'build' },
  { name: 'libc6-dev', use: 'build' },
  { name: 'libbpf1', use: 'build' },
  { name: 'iproute2', use: 'data plane' },
  { name: 'iptables', use: 'data plane' },
  { name: 'util-linux', use: 'data plane' },
  { name: 'mount', use: 'data plane' },
  { name: 'procps', use: 'data plane' },
  { name: 'kmod', use: 'data plane' },
  { name: 'curl', use: 'data plane' },
  { name: 'haproxy', use: 'sidecar', without: 'Envoy is the only sidecar' },
  { name: 'python3', use: 'sidecar', without: 'Envoy cannot be fetched; HAProxy stands in' },
  { name: 'python3-pip', use: 'sidecar', without: 'Envoy cannot be fetched; HAProxy stands in' },
  { name: 'openssl', use: 'test' },
  {
    name: 'bpftool',
    instead: 'linux-tools-common',
    use: 'test',
    without: 'the tests that ask bpftool for a second opinion are skipped',
  },
  { name: 'buildah', use: 'image' },
  { name: 'mmdebstrap', use: 'image' },
  { name: 'containerd', instead: 'containerd.io', use: 'containers' },
  // Docker's containerd.io holds it too.
  { name: 'runc', instead: 'containerd.io', use: 'containers' },
  { name: 'containernetworking-plugins', use: 'containers' },
  { name: 'golang-go', use: 'runtimes', without: NO_RUNTIME },
  { name: 'default-jdk-headless', use: 'runtimes', without: NO_RUNTIME },
  { name: 'nginx-light', instead: 'nginx', use: 'runtimes', without: NO_RUNTIME },
  { name: 'redis-server', use: 'runtimes', without: NO_RUNTIME },
  { name: 'redis-tools', use: 'runtimes', without: NO_RUNTIME },
  { name: 'postgresql', use: 'runtimes', without: NO_RUNTIME },
  { name: 'python3-grpcio', use: 'runtimes', without: NO_RUNTIME },
  { name: 'qemu-system-x86', use: 'guest', without: NO_GUEST },
  { name: 'busybox-static', use: 'guest', without: NO_GUEST },
  // Debian 12 has it in qemu-system-common.
  { name: 'virtiofsd', instead: 'qemu-system-common', use: 'guest', without: NO_GUEST },
  { name: 'debian-archive-keyring', use: 'guest', without: NO_GUEST },
  { name: 'xz-utils', use: 'guest', without: NO_GUEST },
];

/** Which uses each purpose of set-up needs. */
export const USES = {
  build: ['build'],
  bench: ['build', 'data plane'],
  'test:chart': ['build', 'sidecar'],
  image: ['build', 'image'],
  'test:image': ['build', 'image', 'containers', 'data plane', 'sidecar'],
  'test:node': ['build', 'image', 'containers', 'data plane', 'sidecar', 'test'],
  'test:cluster': ['build', 'image', 'containers', 'data plane', 'sidecar', 'test'],
  vm: ['build', 'data plane', 'test', 'guest'],
  'test:kube': ['build', 'data plane', 'test'],
  'test:matrix': ['build', 'data plane', 'sidecar', 'test', 'guest'],
  'test:runtimes': ['build', 'data plane', 'sidecar', 'test', 'runtimes'],
  'test:cni': ['build', 'data plane', 'test', 'containers'],
  demo: ['build', 'data plane', 'sidecar', 'test'],
  test: ['build', 'data plane', 'sidecar', 'test', 'guest'],
};

/** Why a package that exists in newer releases may be missing in this one. */
export const SINCE = {
  libbpf1: 'libbpf >= 1.1 is needed: Debian 12, Ubuntu 24.04 or newer have it',
};
