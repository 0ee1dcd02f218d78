import { accessSync, constants, globSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter, join } from 'node:path';
import { AgentClient } from '../../agent/client.ts';
import type { Feature } from '../../datapath/ebpf/inspect.ts';
import type { TierState } from '../../datapath/tier.ts';
import { errorReport } from '../../errors.ts';
import { packageRoot } from '../../package_root.ts';
import { cgroup2Mounts } from '../../pod/cgroup.ts';
import type { Context } from '../context.ts';
import { kubepodsCgroup } from '../kubepods.ts';
import { type Capability, effectiveCapabilities } from './capabilities.ts';
import { type Mount, parseMounts } from './mounts.ts';

/** What could not be found out, and why. */
export interface Unknown {
  code: string;
  message: string;
  fix: string;
}

export const TOOLS = ['ip', 'nsenter', 'iptables', 'clang', 'envoy', 'haproxy'] as const;

/** Everything the checks judge, gathered once; they do no I/O of their own. */
export interface Facts {
  /** `uname -r`. */
  kernel: string;
  /** Bytes of the kernel's BTF, null where it has none. */
  btfBytes: number | null;
  mounts: readonly Mount[];
  /** Mount points of cgroup2. */
  cgroup2: readonly string[];
  kubepods: string | null;
  /** Where the pins are to stand. */
  bpffs: string;
  capabilities: ReadonlySet<Capability>;
  /** net.core.bpf_jit_enable, null where the kernel has no such setting. */
  jit: string | null;
  libbpf: { version: string } | Unknown;
  features: readonly Feature[] | Unknown;
  /** What an agent would run at here. */
  tier: TierState | Unknown;
  tools: Readonly<Record<(typeof TOOLS)[number], string | null>>;
  agent: { pid: number; version: string } | Unknown;
  /** Null when nothing is pinned. */
  pins: { layout: number; expected: number } | Unknown | null;
}

export async function gatherFacts(context: Context): Promise<Facts> {
  const ebpf = await import('../../datapath/ebpf/inspect.ts');
  const cgroup2 = await attempt(() => cgroup2Mounts());
  const kubepods = await attempt(() => kubepodsCgroup());
  return {
    kernel: release(),
    btfBytes: statSync('/sys/kernel/btf/vmlinux', { throwIfNoEntry: false })?.size ?? null,
    mounts: parseMounts(readFileSync('/proc/self/mountinfo', 'utf8')),
    cgroup2: isUnknown(cgroup2) ? [] : cgroup2,
    kubepods: isUnknown(kubepods) ? null : kubepods,
    bpffs: context.bpffs,
    capabilities: effectiveCapabilities(readFileSync('/proc/self/status', 'utf8')),
    jit: readSetting('/proc/sys/net/core/bpf_jit_enable'),
    libbpf: await attempt(() => ({ version: ebpf.libbpfVersion() })),
    features: await attempt(() => ebpf.probeFeatures()),
    tier: await attempt(() => ebpf.probeTier()),
    tools: {
      ip: which('ip'),
      nsenter: which('nsenter'),
      iptables: which('iptables'),
      clang: which('clang'),
      envoy: envoy(),
      haproxy: which('haproxy'),
    },
    agent: await attempt(async () => {
      const { pid, version } = await new AgentClient(context.socket).status();
      return { pid, version };
    }),
    pins: await attempt(() => {
      const meta = ebpf.readMeta(context.bpffs);
      return meta === null ? null : { layout: meta.layout, expected: ebpf.LAYOUT_VERSION };
    }),
  };
}

export function isUnknown<T>(fact: T | Unknown): fact is Unknown {
  return typeof fact === 'object' && fact !== null && 'message' in fact && 'fix' in fact;
}

async function attempt<T>(find: () => T | Promise<T>): Promise<T | Unknown> {
  try {
    return await find();
  } catch (error) {
    return errorReport(error);
  }
}

function readSetting(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    // The kernel was built without it.
    return null;
  }
}

/** Where the test bed looks, too: SHUNT_ENVOY, what set-up fetched into the checkout, the PATH. */
function envoy(): string | null {
  const { SHUNT_ENVOY } = process.env;
  const fetched = globSync('**/envoy', { cwd: join(packageRoot(), '.cache', 'envoy') });
  const candidates = fetched.map((path) => join(packageRoot(), '.cache', 'envoy', path));
  if (SHUNT_ENVOY !== undefined) candidates.unshift(SHUNT_ENVOY);
  return candidates.find(isProgram) ?? which('envoy');
}

function which(tool: string): string | null {
  // sbin holds ip and iptables and is often missing from the PATH of sudo.
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const paths = directories.filter((directory) => directory !== '').map((directory) => join(directory, tool));
  return paths.find(isProgram) ?? null;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // Not there, or not ours to run.
    return false;
  }
}
