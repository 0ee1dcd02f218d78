import { oldKernel } from '../../datapath/tier.ts';
import type { Capability } from './capabilities.ts';
import { type Facts, isUnknown } from './facts.ts';
import { type Finding, fail, type Judgement, ok, warn } from './finding.ts';
import { mountOf } from './mounts.ts';

interface Check {
  check: string;
  judge(facts: Facts): Judgement;
}

const CAPABILITY_USES: readonly {
  capability: Capability;
  covers: Capability[];
  use: string;
  level: 'warn' | 'fail';
}[] = [
  { capability: 'BPF', covers: ['SYS_ADMIN'], use: 'load programs and read maps', level: 'fail' },
  { capability: 'NET_ADMIN', covers: [], use: 'attach to cgroups and network namespaces', level: 'fail' },
  { capability: 'PERFMON', covers: ['SYS_ADMIN'], use: 'accelerate', level: 'warn' },
  {
    capability: 'SYS_ADMIN',
    covers: [],
    use: "enter pods' network namespaces and list kernel objects",
    level: 'fail',
  },
  {
    capability: 'SYS_PTRACE',
    covers: [],
    use: 'capture sidecars that listened before their pod was enrolled',
    level: 'warn',
  },
  {
    capability: 'DAC_READ_SEARCH',
    covers: [],
    use: 'list the sockets of those sidecars, which run as another user',
    level: 'warn',
  },
];

/** Every prerequisite, in the order in which to repair them. */
export const CHECKS: readonly Check[] = [
  {
    check: 'kernel',
    // What it can is seen below, by trying.
    judge({ kernel }) {
      const old = oldKernel(kernel);
      return old === null
        ? ok(kernel)
        : warn(old, 'boot a newer kernel, or run the agent with --backend ebpf');
    },
  },
  {
    check: 'tier',
    judge({ tier }) {
      if (isUnknown(tier)) return fail(tier.message, tier.fix);
      const { tier: level, name, limit } = tier;
      if (limit === null) return ok(`${level}: ${name}`);
      const detail = `${level}: ${name}; no higher: ${limit}`;
      if (level === 0) return fail(detail, 'mend what fails below, or run the agent with --backend iptables');
      return warn(
        detail,
        'mend what does not work below, or boot a newer kernel: docs/kernels.md says which does what',
      );
    },
  },
  {
    check: 'kernel BTF',
    judge: ({ btfBytes }) =>
      btfBytes === null
        ? warn(
            'there is no /sys/kernel/btf/vmlinux: no acceleration',
            'boot a kernel built with CONFIG_DEBUG_INFO_BTF=y',
          )
        : ok(`/sys/kernel/btf/vmlinux, ${Math.round(btfBytes / 1024)} KiB`),
  },
  {
    check: 'cgroup2',
    judge({ cgroup2: [mount], mounts }) {
      if (mount === undefined) {
        return fail('cgroup v2 is not mounted', 'mount -t cgroup2 none /sys/fs/cgroup/unified');
      }
      const hybrid = mounts.some(({ type }) => type === 'cgroup');
      return ok(hybrid ? `${mount} (hybrid: cgroup v1 controllers are mounted beside it)` : mount);
    },
  },
  {
    check: 'pod cgroup',
    judge: ({ kubepods }) =>
      kubepods === null
        ? warn('no kubepods cgroup here', 'name the cgroup above all pods with `shunt agent --cgroup PATH`')
        : ok(kubepods),
  },
  {
    check: 'bpffs',
    judge({ mounts, bpffs }) {
      const mount = mountOf(mounts, bpffs);
      if (mount?.type !== 'bpf') return fail(`no BPF file system at ${bpffs}`, `mount -t bpf bpf ${bpffs}`);
      if (mount.readOnly) return fail(`${mount.point} is read-only`, `mount -o remount,rw ${mount.point}`);
      return ok(bpffs);
    },
  },
  ...CAPABILITY_USES.map(({ capability, covers, use, level }) => ({
    check: `CAP_${capability}`,
    judge({ capabilities }: Facts): Judgement {
      if (capabilities.has(capability)) return ok(use);
      const cover = covers.find((other) => capabilities.has(other));
      if (cover !== undefined) return ok(`${use} (by CAP_${cover})`);
      const judgement = level === 'fail' ? fail : warn;
      return judgement(`missing: cannot ${use}`, `run as root, or give the process CAP_${capability}`);
    },
  })),
  {
    check: 'BPF JIT',
    judge({ jit }) {
      if (jit === null)
        return warn('net.core.bpf_jit_enable cannot be read', 'use a kernel with CONFIG_BPF_JIT=y');
      if (jit === '0') return warn('off: programs are interpreted', 'sysctl -w net.core.bpf_jit_enable=1');
      return ok('on');
    },
  },
  {
    check: 'libbpf',
    judge: ({ libbpf }) => (isUnknown(libbpf) ? fail(libbpf.message, libbpf.fix) : ok(libbpf.version)),
  },
  {
    check: 'pins',
    judge({ pins, bpffs }) {
      if (pins === null) return ok(`nothing is pinned in ${bpffs}/shunt`);
      if (isUnknown(pins)) return warn(pins.message, pins.fix);
      // An agent that is killed between making the maps and signing them leaves 0; the next one adopts them.
      if (pins.layout === 0) return ok('not signed yet by an agent');
      if (pins.layout === pins.expected) return ok(`layout ${pins.layout}`);
      return fail(
        `layout ${pins.layout}, this version reads ${pins.expected}`,
        'run the version that pinned them, or `shunt cleanup` (pods are not redirected until enrolled again)',
      );
    },
  },
  {
    check: 'agent',
    judge: ({ agent }) =>
      isUnknown(agent) ? warn(agent.message, agent.fix) : ok(`pid ${agent.pid}, version ${agent.version}`),
  },
  tool('ip', 'the demo', 'apt-get install iproute2'),
  tool('nsenter', 'the demo', 'apt-get install util-linux'),
  tool('iptables', "the demo's comparison", 'apt-get install iptables'),
  tool('clang', '`shunt agent --compile`', 'apt-get install clang llvm libbpf-dev'),
  {
    check: 'sidecar proxy',
    judge({ tools: { envoy, haproxy } }) {
      const found = [envoy, haproxy].filter((path) => path !== null);
      if (found.length > 0) return ok(found.join(', '));
      return warn('neither envoy nor haproxy: the demo has no sidecar', 'apt-get install haproxy');
    },
  },
];

/** Every check's finding, the kernel features last, one line each. */
export function judge(facts: Facts): Finding[] {
  return [...CHECKS.map(({ check, judge }) => ({ check, ...judge(facts) })), ...judgeFeatures(facts)];
}

function judgeFeatures({ features }: Facts): Finding[] {
  if (isUnknown(features)) return [{ check: 'kernel features', ...fail(features.message, features.fix) }];
  return features.map(({ name, available, reason, needed, since }) => {
    if (available) return { check: name, ...ok('works') };
    const detail = `${reason ?? 'this kernel does not have it'}: no ${needed}`;
    // A lower tier does without.
    const judgement = needed === 'acceleration' || needed === 'inbound redirection' ? warn : fail;
    return { check: name, ...judgement(detail, `boot a kernel from ${since} on that is built with it`) };
  });
}

function tool(name: 'ip' | 'nsenter' | 'iptables' | 'clang', user: string, fix: string): Check {
  return {
    check: name,
    judge({ tools }) {
      const path = tools[name];
      return path === null ? warn(`not found; ${user} needs it`, fix) : ok(path);
    },
  };
}
