/**
 * The one catalogue of errors. A code is stable: scripts and alerts may match on it.
 * `what` says what happened, `fix` what to do about it; docs/errors.md is made from this table.
 */
export const ERRORS = {
  SHUNT_E_NOT_ROOT: {
    what: 'this needs root',
    fix: 'run it with sudo, or give the process CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN',
  },
  SHUNT_E_USAGE: { what: 'the command line is wrong', fix: 'see `shunt help`' },
  SHUNT_E_AGENT_RUNNING: {
    what: 'another agent holds these pins',
    fix: 'stop it first, or give this one its own --bpffs and --socket',
  },
  SHUNT_E_AGENT_DOWN: {
    what: 'no agent answers on the socket',
    fix: 'start `shunt agent`, or name its socket with --socket',
  },
  SHUNT_E_SOCKET: {
    what: 'the agent cannot listen on this socket path',
    fix: 'name another path with --socket, or remove what stands there',
  },
  SHUNT_E_METRICS_LISTEN: {
    what: 'the agent cannot serve its metrics on this address',
    fix: 'give --metrics an address of this host and a port that is free; `ss -ltnp` shows who has one',
  },
  SHUNT_E_AGENT_SLOW: {
    what: 'the agent did not answer in time',
    fix: 'see its log for what it is doing, then try again',
  },
  SHUNT_E_AGENT_STAYS: {
    what: 'the agent was asked to stop and still holds its lock',
    fix: 'stop it (its pid is in `shunt status`), then run `shunt cleanup` again',
  },
  SHUNT_E_API_REQUEST: {
    what: 'the agent does not take this request',
    fix: 'use the same version of shunt for the agent and the command line',
  },
  SHUNT_E_API_ANSWER: {
    what: 'the agent answered in a form that is not known here',
    fix: 'use the same version of shunt for the agent and the command line',
  },
  SHUNT_E_CGROUP_REQUIRED: {
    what: 'there is no kubepods cgroup on this machine, so the cgroup of the pods must be named',
    fix: 'name it with --cgroup: the cgroup2 directory above all pods, never the root',
  },
  SHUNT_E_PINS_MISSING: {
    what: 'nothing of Shunt is pinned here',
    fix: 'start `shunt agent`, or name the BPF file system it uses with --bpffs',
  },
  SHUNT_E_MAP_UNKNOWN: {
    what: 'there is no such map',
    fix: '`shunt map list` shows the maps',
  },
  SHUNT_E_MAP_NOT_WALKABLE: {
    what: 'user space cannot walk a map of this type: its entries belong to sockets, or are read once',
    fix: '`shunt map list` shows the other maps; counters and events are in `shunt pod get` and in the log of the agent',
  },
  SHUNT_E_MAP_KEY: {
    what: 'this is not a key of the map',
    fix: 'give a number, a JSON object in the form that `shunt map dump -o json` prints, or hex bytes (0x…)',
  },
  SHUNT_E_MAP_NO_ENTRY: {
    what: 'the map has no entry under this key',
    fix: '`shunt map dump MAP` shows its entries',
  },
  SHUNT_E_POD_UNKNOWN: {
    what: 'no such pod is known on this node',
    fix: '`shunt pod list` shows the pods',
  },
  SHUNT_E_FILE: {
    what: 'the file cannot be read',
    fix: 'check its path and its permissions',
  },
  SHUNT_E_CLEANUP_LEFT: {
    what: 'something of Shunt is left in the kernel',
    fix: 'run `shunt cleanup`; where HELD BY names a process, stop it; where it names pins elsewhere, clean up with their --bpffs',
  },
  SHUNT_E_SYSTEM: {
    what: 'the system refused an operation',
    fix: 'run `shunt doctor`: it checks every prerequisite and names a fix for each',
  },
  SHUNT_E_INTERNAL: {
    what: 'a fault in Shunt itself',
    fix: 'run it again with SHUNT_DEBUG=1 and report the stack that it prints',
  },
  SHUNT_E_LAB_TOOL: {
    what: 'a program that the test bed needs is missing',
    fix: 'run the set-up again (`npm run demo` does it), or install the program',
  },
  SHUNT_E_LAB_COMMAND: {
    what: 'a command of the test bed failed',
    fix: 'see what it said; network namespaces, veth and bridge devices need root and a kernel that has them',
  },
  SHUNT_E_LAB_PROCESS: {
    what: 'a process of the test bed ended early',
    fix: 'see the end of its log in the message',
  },
  SHUNT_E_LAB_TIMEOUT: {
    what: 'the test bed waited in vain',
    fix: 'the machine may be overloaded: run it again, and report it if it stays',
  },
  SHUNT_E_LAB_CGROUP2: {
    what: 'cgroup v2 is not mounted',
    fix: 'mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified',
  },
  SHUNT_E_LAB_IN_USE: {
    what: 'another test bed of this name is running',
    fix: 'stop it first (Ctrl-C where it runs)',
  },
  SHUNT_E_DEMO_NODE_IN_USE: {
    what: 'this node already carries pins of an agent',
    fix: 'use another machine for the demo; if the pins are left over, remove them with `shunt cleanup`',
  },
  SHUNT_E_MANIFEST_SYNTAX: {
    what: 'the manifest is not YAML or JSON',
    fix: 'correct the line named, or check the file with `kubectl apply --dry-run=client -f FILE`',
  },
  SHUNT_E_MANIFEST_NOT_POD: {
    what: 'the manifest holds an object that is not a Pod',
    fix: 'keep only Pod objects (apiVersion v1, kind Pod, List or PodList) in the path given with --pods',
  },
  SHUNT_E_MANIFEST_FIELD: {
    what: 'a field of the manifest has the wrong type or is missing',
    fix: 'correct the field named; `kubectl explain pod.FIELD` says what it takes',
  },
  SHUNT_E_MANIFEST_TOO_LARGE: {
    what: 'the manifest is larger than 1 MiB, or expands to too much',
    fix: 'split it into several files',
  },
  SHUNT_E_MANIFEST_DUPLICATE: {
    what: 'another manifest already describes this pod',
    fix: 'remove one of the two; the first in order of file names is in force',
  },
  SHUNT_E_PODS_PATH: {
    what: 'the path of pod manifests cannot be read',
    fix: 'create the file or directory, or name another with --pods',
  },
  SHUNT_E_POD_NO_NETNS: {
    what: 'the pod does not say where its network namespace is',
    fix: 'add the annotation shunt.dev/netns with a path such as /run/netns/NAME or /proc/PID/ns/net',
  },
  SHUNT_E_POD_IP_MISMATCH: {
    what: 'an address in status.podIPs is not an address of the network namespace',
    fix: 'correct status.podIPs (or leave it out) or the annotation shunt.dev/netns',
  },
  SHUNT_E_NETNS_MISSING: {
    what: 'the network namespace does not exist',
    fix: 'start the pod first, or correct the annotation shunt.dev/netns; `ip netns list` shows those with names',
  },
  SHUNT_E_NETNS_NOT_NETNS: {
    what: 'the path is not a network namespace',
    fix: 'name a file such as /run/netns/NAME or /proc/PID/ns/net in the annotation shunt.dev/netns',
  },
  SHUNT_E_NETNS_COOKIE: {
    what: 'the kernel does not give the cookie of a network namespace',
    fix: 'give the agent nsenter and leave to make cgroups, use Linux 5.14 or newer, or start it with --backend iptables',
  },
  SHUNT_E_NETNS_HOST: {
    what: "this is the host's network namespace, which is never enrolled",
    fix: "name the pod's own network namespace in the annotation shunt.dev/netns",
  },
  SHUNT_E_CGROUP2_MISSING: {
    what: 'no cgroup v2 file system is mounted',
    fix: 'mount it: mount -t cgroup2 none /sys/fs/cgroup/unified',
  },
  SHUNT_E_CGROUP_MISSING: {
    what: 'the cgroup does not exist',
    fix: 'start the container first, or correct the annotation shunt.dev/cgroup',
  },
  SHUNT_E_CGROUP_NOT_V2: {
    what: 'the directory is not a cgroup v2 directory',
    fix: 'name one below the cgroup2 mount; `findmnt -t cgroup2` shows where that is',
  },
  SHUNT_E_LISTENER_MPTCP: {
    what: 'the sidecar takes inbound connections with an MPTCP socket, to which eBPF cannot steer them',
    fix: 'let the sidecar listen with TCP (of Go >= 1.24: GODEBUG=multipathtcp=0; of all in the pod: sysctl net.mptcp.enabled=0), or give the pod the annotation shunt.dev/backend: iptables',
  },
  SHUNT_E_LISTENER_TAKE: {
    what: "the sidecar's listening socket cannot be duplicated",
    fix: 'give the agent CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and the host PID namespace (Linux 5.6 or newer), or restart the sidecar',
  },
  SHUNT_E_PASSTHROUGH_ADDRESS: {
    what: "::6 cannot be put on the pod's lo, from which its sidecar reaches the application over IPv6",
    fix: 'see that IPv6 is not disabled on lo in the pod (net.ipv6.conf.lo.disable_ipv6), or add it there: ip -6 address add ::6/128 dev lo',
  },
  SHUNT_E_POLICY: {
    what: 'the redirect policy is not valid',
    fix: 'correct the value named',
  },
  SHUNT_E_POLICY_UNENFORCEABLE: {
    what: 'the eBPF backend cannot enforce a setting of this pod',
    fix: 'enforce the pod with the iptables backend, or take the setting named out of its annotations',
  },
  SHUNT_E_SETTINGS: {
    what: 'the settings file is wrong',
    fix: 'correct the key named; docs/meshes.md lists the settings. A running agent keeps the last good ones',
  },
  SHUNT_E_BACKEND_UNAVAILABLE: {
    what: 'the pod asks for a backend that this node does not run',
    fix: 'take the annotation shunt.dev/backend away or set it to auto; `shunt status` and `shunt doctor` say why the backend is missing',
  },
  SHUNT_E_BPFFS_MISSING: {
    what: 'no BPF file system is mounted here',
    fix: 'mount one: mount -t bpf bpf /sys/fs/bpf',
  },
  SHUNT_E_PINS_VERSION: {
    what: 'the pinned maps were made by another version of Shunt, and their layout differs',
    fix: 'start the version that made them, or remove them with `shunt cleanup` (pods are not redirected until the new agent has enrolled them)',
  },
  SHUNT_E_PINS_CGROUP: {
    what: 'the pins are attached to another cgroup than the one asked for',
    fix: 'start the agent with the cgroup named, or run `shunt cleanup` first',
  },
  SHUNT_E_LOAD: {
    what: 'the kernel rejected an eBPF program',
    fix: 'run `shunt doctor`; the verifier log is in the log line, report it with the kernel version',
  },
  SHUNT_E_ATTACH: {
    what: 'the kernel does not attach an eBPF program to a cgroup',
    fix: 'run `shunt doctor`; bpf_link came with Linux 5.7, and --backend auto takes iptables without it',
  },
  SHUNT_E_OBJECT_MISSING: {
    what: 'a compiled eBPF object is missing',
    fix: 'build it with `npm run build`, or start the agent with --compile',
  },
  SHUNT_E_COMPILE: {
    what: 'clang could not compile the eBPF programs',
    fix: 'install clang and the headers of libbpf (apt-get install clang libbpf-dev), or start without --compile',
  },
  SHUNT_E_BPF_DENIED: {
    what: 'the kernel does not permit this process to use eBPF',
    fix: 'run it as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (CAP_SYS_ADMIN before Linux 5.8)',
  },
  SHUNT_E_LIBBPF: {
    what: 'libbpf cannot be used',
    fix: 'install libbpf 1.1 or newer (apt-get install libbpf1)',
  },
  SHUNT_E_MAP_FULL: {
    what: 'a map is full; nothing was changed for this pod',
    fix: 'raise --max-pods or --max-policies, and restart the agent after `shunt cleanup`',
  },
  SHUNT_E_DATAPATH: {
    what: 'the kernel refused an operation of the data plane',
    fix: 'run `shunt doctor`; the log line has the operation and the error number',
  },
  SHUNT_E_IPTABLES_MISSING: {
    what: 'no iptables works on this node',
    fix: 'install iptables, iproute2 and util-linux (apt-get install iptables iproute2 util-linux), and see that the kernel has nat tables',
  },
  SHUNT_E_IPTABLES_APPLY: {
    what: 'iptables refused the rules of a pod; nothing was changed for it',
    fix: 'see what iptables said; `shunt iptables render -f FILE` prints the rules, and a missing match or target is a missing kernel module',
  },
  SHUNT_E_MESH_REJECTED: {
    what: 'the mesh rejects a value of this pod',
    fix: 'correct the annotation named; a pod that was enrolled before stays as it was',
  },
  SHUNT_E_NETNS_TAKEN: {
    what: 'two pods name one network namespace',
    fix: 'correct the annotation shunt.dev/netns of one of them',
  },
  SHUNT_E_ATTACH_ROOT: {
    what: 'Shunt does not attach to the root cgroup',
    fix: 'name the cgroup above all pods with --cgroup',
  },
  SHUNT_E_CNI_VARIABLES: {
    what: 'a CNI_ variable of the call is missing or wrong',
    fix: 'the container runtime sets them; by hand, see "Parameters" in the CNI specification',
  },
  SHUNT_E_CNI_CONFIG: {
    what: 'the network configuration of the call is wrong',
    fix: 'correct the entry of shunt-cni in the conflist, or write it anew with `shunt cni install`',
  },
  SHUNT_E_CNI_REQUEST: {
    what: 'the call did not come from the plugin of this version',
    fix: 'copy the plugin of this version to the CNI bin directory with `shunt cni install`',
  },
  SHUNT_E_CNI_POD_UNKNOWN: {
    what: 'the agent does not know the pod yet',
    fix: 'the runtime tries again by itself; if it goes on, see in `shunt status` whether the source of pods works',
  },
  SHUNT_E_CNI_NOT_ENROLLED: {
    what: 'the pod is not in force as it was added',
    fix: 'the agent repairs it within a minute, at once with an ADD; `shunt pod get` says what it holds',
  },
  SHUNT_E_CNI_NOT_READY: {
    what: 'the agent cannot enroll pods now',
    fix: 'see `shunt status` and the log of the agent',
  },
  SHUNT_E_CNI_NET_DIR: {
    what: "the directory of the runtime's network configurations cannot be read",
    fix: 'name it with --net-dir (on most distributions /etc/cni/net.d); docs/cni.md lists the others',
  },
  SHUNT_E_CNI_NO_CONF: {
    what: 'there is no network configuration to put the plugin into',
    fix: 'install the primary CNI plugin first; an agent that watches the directory does the rest when it is there',
  },
  SHUNT_E_CNI_CONF_INVALID: {
    what: 'no network configuration is valid',
    fix: 'correct the files named, or have the primary CNI plugin write them anew; they are left as they are',
  },
  SHUNT_E_CNI_WRITE: {
    what: 'the plugin or its entry cannot be written',
    fix: 'see that the file system is writable here (in a container: that the directory of the host is mounted so), or name another with --net-dir and --bin-dir',
  },
  SHUNT_E_CNI_BUSY: {
    what: 'the network configuration is written again and again by something else',
    fix: 'find what writes it (another installer that wants to be the last in the chain?), and try again',
  },
  SHUNT_E_CNI_PLUGIN_MISSING: {
    what: 'the built CNI plugin is missing',
    fix: 'build it with `npm run build`',
  },
  SHUNT_E_VM_KERNEL: {
    what: 'no suite is known for this kernel',
    fix: '`npm run vm -- --help` names the kernels',
  },
  SHUNT_E_VM_MACHINE: {
    what: 'guests run on x86-64 machines only',
    fix: 'use one, or run the command on a machine that has the kernel',
  },
  SHUNT_E_VM_PACKAGE: {
    what: "a package for the guest cannot be had from Debian's archive",
    fix: 'check the network and the mirror (--mirror URL names another), then run it again',
  },
  SHUNT_E_VM_QEMU: {
    what: 'QEMU cannot be used here',
    fix: 'apt-get install --no-install-recommends qemu-system-x86 busybox-static virtiofsd (Debian 12 has virtiofsd in the first)',
  },
  SHUNT_E_VM_BOOT: {
    what: 'the guest died before its command ended',
    fix: 'its console says why; with more --memory, or on a newer QEMU, it may not',
  },
  SHUNT_E_VM_TIMEOUT: {
    what: 'the command did not end in time; the guest was ended',
    fix: 'give it more with --timeout SECONDS; emulation is 10 to 20 times slower than this machine',
  },
  SHUNT_E_KUBE_CONFIG: {
    what: 'the credentials for the Kubernetes API cannot be used',
    fix: 'name a readable kubeconfig with --kubeconfig FILE, or run in a pod with a service account and give --kubeconfig in-cluster',
  },
  SHUNT_E_KUBE_UNREACHABLE: {
    what: 'the Kubernetes API server cannot be reached; what is enforced stays, and it is tried again',
    fix: 'check that the server is up and that the node reaches it at the address of the kubeconfig',
  },
  SHUNT_E_KUBE_UNAUTHORIZED: {
    what: 'the Kubernetes API server does not accept the credentials (401); they are read again before each try',
    fix: "renew the kubeconfig's token or certificate; in a pod, check that its service account still exists",
  },
  SHUNT_E_KUBE_FORBIDDEN: {
    what: 'the service account may not do this (403)',
    fix: 'apply the ClusterRole of daemonset/manifests/shunt.yaml: it holds every permission that the agent needs',
  },
  SHUNT_E_KUBE_THROTTLED: {
    what: 'the Kubernetes API server asks for fewer requests (429); the agent waits as long as it was told',
    fix: 'nothing, if it passes; otherwise see the API priority and fairness settings of the cluster',
  },
  SHUNT_E_KUBE_SERVER: {
    what: 'the Kubernetes API server failed to answer the request; it is tried again',
    fix: 'see the log of the API server',
  },
  SHUNT_E_KUBE_ANSWER: {
    what: 'the answer is not what a Kubernetes API server sends',
    fix: 'check that the address of the kubeconfig is that of the API server, and what proxies stand between',
  },
  SHUNT_E_KUBE_SILENT: {
    what: 'nothing came on the watch for too long, not even a bookmark; it is opened again',
    fix: 'nothing, if it is rare; otherwise look for a load balancer or firewall that drops idle connections',
  },
  SHUNT_E_POD_NOT_STARTED: {
    what: 'no process of the pod is on this node yet; it is looked for again',
    fix: 'nothing, while its sandbox is being made; otherwise check that the agent sees the host: hostPID, and /sys/fs/cgroup of the host',
  },
} as const satisfies Record<`SHUNT_E_${string}`, { what: string; fix: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** An error a user can act on: a stable code, one sentence of what happened here, and what to do. */
export class ShuntError extends Error {
  readonly code: ErrorCode;
  /** What to do, in one sentence. */
  readonly fix: string;
  /** What it happened to: a file, a pod, a map. */
  readonly target: string | undefined;

  /**
   * @param code entry of the catalogue
   * @param detail what happened here, without the target's name
   * @param options `target` names the object; `fix` replaces the catalogue's; `cause` is kept
   */
  constructor(
    code: ErrorCode,
    detail?: string,
    options: { target?: string; fix?: string; cause?: unknown } = {},
  ) {
    const head = detail ?? ERRORS[code].what;
    super(options.target === undefined ? head : `${options.target}: ${head}`, { cause: options.cause });
    this.name = 'ShuntError';
    this.code = code;
    this.fix = options.fix ?? ERRORS[code].fix;
    this.target = options.target;
  }

  toJSON(): { code: ErrorCode; message: string; fix: string; target?: string } {
    return {
      code: this.code,
      message: this.message,
      fix: this.fix,
      ...(this.target === undefined ? {} : { target: this.target }),
    };
  }
}

/**
 * Any failure as code, message and fix: ours as it stands, a system or libbpf error (which carry a `code` and,
 * libbpf's, a `hint`) in its own words, everything else as a fault of Shunt.
 */
export function errorReport(error: unknown): { code: string; message: string; fix: string } {
  if (error instanceof ShuntError) return { code: error.code, message: error.message, fix: error.fix };
  if (!(error instanceof Error))
    return { code: 'SHUNT_E_INTERNAL', message: String(error), fix: ERRORS.SHUNT_E_INTERNAL.fix };
  const message = error.message.replace(/\s+/g, ' ').trim();
  // What an agent reported keeps the agent's words.
  if ('fix' in error && typeof error.fix === 'string' && 'code' in error && typeof error.code === 'string')
    return { code: error.code, message, fix: error.fix };
  if (error.name === 'BpfError' || 'syscall' in error) {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : 'SHUNT_E_SYSTEM';
    const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
    const denied = code === 'EACCES' || code === 'EPERM';
    return { code, message, fix: hint ?? ERRORS[denied ? 'SHUNT_E_NOT_ROOT' : 'SHUNT_E_SYSTEM'].fix };
  }
  return { code: 'SHUNT_E_INTERNAL', message: message || error.name, fix: ERRORS.SHUNT_E_INTERNAL.fix };
}
