/** Which backend makes policies true on this node: eBPF where the kernel can, iptables where it cannot, and why. */
import { existsSync, mkdirSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { builtObjects, compileObjects } from '../datapath/ebpf/compile.ts';
import { EbpfDatapath } from '../datapath/ebpf/datapath.ts';
import { Pins } from '../datapath/ebpf/pins.ts';
import type { Datapath } from '../datapath/interface.ts';
import { IptablesDatapath } from '../datapath/iptables/datapath.ts';
import { limitedBy, oldKernel, type Tier, type TierState, tierState } from '../datapath/tier.ts';
import { type ErrorCode, ShuntError } from '../errors.ts';
import { resolveCgroup } from '../pod/cgroup.ts';
import { lockDirectory } from './lock.ts';

export interface BackendOptions {
  backend: 'auto' | 'ebpf' | 'iptables';
  /** Gives the cgroup2 directory above all pods, absolute or relative to the mount; asked by eBPF alone. */
  cgroup(): string;
  /** Mount point of the BPF file system. */
  bpffs: string;
  /** Unix socket of the local API; its directory is the agent's run directory. */
  socket: string;
  /** Build bpf/ here instead of using the objects that came along. */
  compile: boolean;
  acceleration: boolean;
  /** The highest that is tried; 0 = iptables. */
  maxTier: Tier;
  maxPods?: number | undefined;
  maxPolicies?: number | undefined;
}

/** Why the node has its backend, for metrics and alerts: few, and never renamed. */
export type BackendCause =
  | 'asked'
  | 'capable'
  | 'limited'
  | 'old-kernel'
  | 'no-cgroup2'
  | 'no-bpffs'
  | 'bpf-denied'
  | 'load-failed'
  | 'no-libbpf';

export interface Backend extends Disposable {
  /** The node's own: what a pod gets that has no wish. */
  datapath: Datapath;
  /** Iptables beside eBPF, for pods that want it or need it. */
  beside: Datapath | null;
  /** Why this one, for people. */
  reason: string;
  cause: BackendCause;
  /** How far the kernel carries it. */
  tier: TierState;
  /** Cgroup that programs are attached to; null with iptables. */
  cgroup: string | null;
  /** Says what another backend left in force that this agent cannot take over. */
  tellOthers(): void;
  /** Work beside enrolling, until the signal. */
  run(signal: AbortSignal, onError: (error: Error) => void): Promise<void>;
}

/** What a node lacks, and iptables does not need. Anything else is a mistake, to be told rather than worked around. */
const FALLBACK: Partial<Record<ErrorCode, BackendCause>> = {
  SHUNT_E_CGROUP2_MISSING: 'no-cgroup2',
  SHUNT_E_BPFFS_MISSING: 'no-bpffs',
  SHUNT_E_BPF_DENIED: 'bpf-denied',
  SHUNT_E_LOAD: 'load-failed',
  SHUNT_E_ATTACH: 'load-failed',
  SHUNT_E_LIBBPF: 'no-libbpf',
};

interface Why {
  cause: BackendCause;
  reason: string;
}

const ASKED: Why = { cause: 'asked', reason: 'asked for with --backend' };

/**
 * Starts the backend asked for. `auto` is eBPF, or iptables on a node that cannot run it or whose kernel says that it is
 * too old.
 *
 * @throws SHUNT_E_AGENT_RUNNING, SHUNT_E_CGROUP_REQUIRED and, when eBPF was asked for, everything that keeps it from
 *   running
 */
export async function startBackend(options: BackendOptions, log: Logger): Promise<Backend> {
  const chosen = await choose(options, log);
  const { datapath, tier, cause, reason } = chosen;
  const told = { backend: datapath.backend, tier: tier.tier, limit: tier.limit, cause, reason };
  log.info({ event: 'backend', ...told }, 'backend chosen');
  return chosen;
}

async function choose(options: BackendOptions, log: Logger): Promise<Backend> {
  if (options.backend === 'iptables') return startIptables(options, ASKED, log);
  if (options.maxTier === 0) {
    return startIptables(options, { cause: 'limited', reason: limitedBy(options.maxTier) }, log);
  }
  if (options.backend === 'ebpf') return await startEbpf(options, ASKED, log);
  // Pods of an earlier agent are in force in the kernel; rules beside them would decide a second time.
  const pinned = existsSync(new Pins(options.bpffs).map('pods'));
  const old = oldKernel(release());
  if (old !== null && !pinned) return startIptables(options, { cause: 'old-kernel', reason: old }, log);
  try {
    return await startEbpf(options, { cause: 'capable', reason: 'the kernel runs it' }, log);
  } catch (error) {
    const cause = error instanceof ShuntError ? FALLBACK[error.code] : undefined;
    if (!(error instanceof ShuntError) || cause === undefined || pinned) throw error;
    const reason = `eBPF cannot be used: ${error.message} [${error.code}]`;
    return startIptables(options, { cause, reason }, log);
  }
}

async function startEbpf(options: BackendOptions, why: Why, log: Logger): Promise<Backend> {
  const cgroup = resolveCgroup(options.cgroup());
  const pins = new Pins(options.bpffs);
  pins.prepare();
  using stack = new DisposableStack();
  stack.use(lockDirectory(pins.root));
  const beside = stack.use(rulesBeside(options, log));
  const datapath = stack.use(
    await EbpfDatapath.start({
      pins,
      objectDirectory: options.compile ? await compileObjects(`${options.socket}.bpf`) : builtObjects(),
      cgroup,
      sizes: {
        ...(options.maxPods === undefined ? {} : { pods: options.maxPods }),
        ...(options.maxPolicies === undefined ? {} : { policies: options.maxPolicies }),
      },
      acceleration: options.acceleration,
      maxTier: options.maxTier === 0 ? 1 : options.maxTier,
      rulesDirectory: beside.datapath === null ? null : dirname(options.socket),
    }),
  );
  const resources = stack.move();
  return {
    datapath,
    beside: beside.datapath,
    ...why,
    tier: datapath.tier,
    cgroup: cgroup.path,
    tellOthers: () => {},
    run: (signal, onError) => datapath.runAcceleration(signal, onError),
    [Symbol.dispose]: () => resources.dispose(),
  };
}

function startIptables({ socket, bpffs }: BackendOptions, why: Why, log: Logger): Backend {
  const directory = dirname(socket);
  mkdirSync(directory, { recursive: true });
  const lock = lockDirectory(directory);
  const datapath = new IptablesDatapath(directory);
  return {
    datapath,
    beside: null,
    ...why,
    tier: tierState(0, why.reason),
    cgroup: null,
    tellOthers: () => tellPins(bpffs, log),
    run: async (signal) => await aborted(signal),
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
}

/**
 * Iptables for single pods of a node that runs eBPF, and for what an agent with iptables left: a pod keeps its rules until
 * eBPF has it. None where another agent holds the run directory, in which the pods with rules are remembered.
 */
function rulesBeside({ socket }: BackendOptions, log: Logger): Disposable & { datapath: Datapath | null } {
  const directory = dirname(socket);
  mkdirSync(directory, { recursive: true });
  try {
    const lock = lockDirectory(directory);
    return { datapath: new IptablesDatapath(directory), [Symbol.dispose]: () => lock[Symbol.dispose]() };
  } catch (error) {
    if (!(error instanceof ShuntError) || error.code !== 'SHUNT_E_AGENT_RUNNING') throw error;
    log.warn(
      { event: 'no-rules-beside', directory },
      'another agent holds the run directory: no pod gets iptables',
    );
    return { datapath: null, [Symbol.dispose]: () => {} };
  }
}

function tellPins(bpffs: string, log: Logger): void {
  if (!existsSync(new Pins(bpffs).map('pods'))) return;
  log.warn(
    { event: 'pins-beside', bpffs },
    'eBPF programs of an earlier agent are in force too; `shunt cleanup` removes them',
  );
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
