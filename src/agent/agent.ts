/** The agent: takes the lock, loads or adopts the data plane, and keeps it true to the manifests until told to stop. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Datapath, DatapathEvent } from '../datapath/interface.ts';
import { errorReport, ShuntError } from '../errors.ts';
import { RepeatLimiter } from '../observe/log.ts';
import type { ListenAddress } from '../observe/metrics_server.ts';
import { containerDirectories } from '../pod/cgroup.ts';
import type { Snapshot } from '../pod/files.ts';
import { nodeNameservers } from '../pod/nameservers.ts';
import { VERSION } from '../version.ts';
import type { ReconcileReport, StatusReport } from './api.ts';
import { type BackendOptions, startBackend } from './backend.ts';
import { type CniChain, CniService } from './cni_service.ts';
import { ContainerWatch } from './container_watch.ts';
import { labelOf } from './desire.ts';
import { Observation } from './observation.ts';
import { openPodSource, type PodSourceOptions } from './pod_source.ts';
import type { Tally } from './readings.ts';
import { Reconciler } from './reconciler.ts';
import { serveApi } from './server.ts';
import { SettingsFile } from './settings_file.ts';

export interface AgentOptions extends BackendOptions {
  source: PodSourceOptions;
  /** Unix socket for the CNI plugin; null where no plugin calls. What it must remember stands beside it. */
  cniSocket: string | null;
  /** Where the plugin is to be kept in the chain; null where something else installs it. */
  cniChain: CniChain | null;
  reconcileIntervalMs: number;
  /** File of mesh settings; null for none. */
  config: string | null;
  /** Where /metrics and the probes are served; null for nowhere. */
  metrics: ListenAddress | null;
}

/** How often it is looked whether a pod waits for its first process. */
const IDLE_RETRY_MS = 100;
const CAP_SYS_ADMIN = 21n;

/**
 * Runs until the signal. Whatever is in force by then goes on without the agent.
 *
 * @throws ShuntError when it cannot start; what was enrolled before stays as it was
 */
export async function runAgent(options: AgentOptions, log: Logger, signal: AbortSignal): Promise<void> {
  checkCapabilities();
  const settings = new SettingsFile(options.config);
  const startedAt = new Date().toISOString();
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  await using observation = new Observation(options.reconcileIntervalMs, log.child({ component: 'observe' }));
  ended.addEventListener('abort', () => observation.ending(), { once: true });
  // Before anything is changed: an address that is taken ends the agent.
  if (options.metrics !== null) await observation.serve(options.metrics);
  // Whatever ends this function ends the watchers with it.
  using source = await openPodSource(options.source, log.child({ component: 'source' }), ended);
  await using snapshots = source.snapshots;
  const first = await snapshots.next();
  if (first.done === true) return;

  using backend = await startBackend(options, log);
  const { datapath } = backend;
  const cni = options.cniSocket === null ? null : new CniService(options.cniSocket);
  const iptables = datapath.backend === 'iptables' ? datapath : backend.beside;
  const reconciler = new Reconciler(
    {
      ebpf: datapath.backend === 'ebpf' ? datapath : null,
      iptables,
      wish: options.backend,
      reason: backend.reason,
    },
    log.child({ component: 'reconcile' }),
    () => ({ settings: settings.settings, nameservers: nodeNameservers }),
    observation,
    cni?.locatorBeside(source.locator) ?? source.locator,
  );
  observation.started({
    ...{ backend, reconciler, settings },
    watches: () => source.watches(),
    servesCni: cni !== null,
  });
  const drift = { checkedAt: startedAt, repaired: [] as string[], outstanding: [] as string[] };
  let pending = false;
  using containers = new ContainerWatch(() => {
    if (pending || ended.aborted) return;
    pending = true;
    setImmediate(() => {
      pending = false;
      if (ended.aborted) return;
      reconcile().catch((error) => log.error({ err: error }, 'reconcile failed; tried again'));
    });
  });
  const watchContainers = ({ pods }: Snapshot): void =>
    containers.set(pods.flatMap(({ pod }) => containerDirectories(pod)));
  const reconcile = async (snapshot?: Snapshot): Promise<ReconcileReport> => {
    if (snapshot !== undefined) cni?.finder.update(snapshot.pods.map(({ pod }) => pod));
    // Before the pass looks for cgroups, so that none comes between.
    watchContainers(snapshot ?? reconciler.snapshot);
    const report = await reconciler.reconcile(snapshot);
    cni?.passed(reconciler);
    // A pass over some pods says nothing of the others.
    if (snapshot?.changed) return report;
    Object.assign(drift, report, { checkedAt: new Date().toISOString() });
    return report;
  };
  const sweep = async (): Promise<void> => {
    watchContainers(reconciler.snapshot);
    const report = await reconciler.sweep();
    cni?.passed(reconciler);
    Object.assign(drift, report, { checkedAt: new Date().toISOString() });
  };
  const rejections = new Rejections(log);
  rejections.tell(first.value);
  await reconcile(first.value);
  const repair = (snapshot: Snapshot) => {
    source.repairer?.look(snapshot, (uid) => reconciler.isEnrolled(uid));
    source.annotationEvents?.look(snapshot, (uid) => reconciler.findings(uid));
  };
  repair(first.value);
  backend.tellOthers();

  const { links, pods: adoptedPods } = datapath.adopted;
  const adopted = { links, pods: adoptedPods + (backend.beside?.adopted.pods ?? 0) };
  const status = (): StatusReport => {
    const reports = reconciler.reports();
    const count = (state: string): number => reports.filter((report) => report.state === state).length;
    const enrolledBy = { ebpf: 0, iptables: 0 };
    for (const { state, backend: by } of reports) if (state === 'enrolled' && by !== null) enrolledBy[by]++;
    const { pods, rejected } = reconciler.snapshot;
    return {
      version: VERSION,
      pid: process.pid,
      startedAt,
      backend: datapath.backend,
      tier: backend.tier,
      backendReason: backend.reason,
      cgroup: backend.cgroup,
      bpffs: options.bpffs,
      source: {
        kind: source.kind,
        path: source.label,
        manifests: new Set(pods.map(({ file }) => file)).size,
        rejected: rejected.map(({ file, error }) => ({ file, ...errorReport(error) })),
      },
      settings: {
        path: settings.path,
        error: settings.error === null ? null : errorReport(settings.error),
      },
      adopted,
      drift,
      acceleration: datapath.acceleration(),
      pods: { enrolled: count('enrolled'), left: count('left'), failed: count('failed') },
      enrolledBy,
      links: datapath.links(),
      maps: datapath.maps(),
    };
  };
  await using server = await serveApi({
    socket: options.socket,
    signal: ended,
    log: log.child({ component: 'api' }),
    handlers: {
      status,
      pods: () => reconciler.reports(),
      reconcile: () => reconcile(),
      setAcceleration: (enabled) => {
        datapath.setAcceleration(enabled);
        log.warn({ event: 'acceleration', enabled }, 'acceleration switched');
        return datapath.acceleration();
      },
      stop: () => stop.abort(),
    },
  });
  await using cniServer = await cni?.serve({
    reconciler,
    hindrances: () =>
      datapath.links().flatMap(({ name, attached }) => (attached ? [] : [`${name} is not attached`])),
    reconcileSoon: () => {
      reconcile().catch((error) => log.error({ err: error }, 'reconcile failed; tried again'));
    },
    served: (...call) => observation.cniServed(...call),
    signal: ended,
    log: log.child({ component: 'cni' }),
  });
  const { enrolled, left, failed } = status().pods;
  log.info(
    {
      event: 'ready',
      adopted,
      enrolled,
      left,
      failed,
      acceleration: datapath.acceleration(),
    },
    'agent is ready',
  );

  await Promise.all([
    watchPods(snapshots, reconcile, rejections, repair, log),
    lookAgain(reconciler, repair, log, ended),
    source.repairer?.run(ended),
    source.annotationEvents?.run(ended),
    reconcilePeriodically(options.reconcileIntervalMs, sweep, log, ended),
    tellEvents(datapath, reconciler, reconcile, observation.tally, log, ended),
    backend.run(ended, (error) => log.error({ err: error }, 'promotion of connections failed')),
    settings.watch(ended, async (outcome) => {
      tellSettings(settings, outcome, log);
      if (outcome === 'changed') {
        await reconcile().catch((error) => log.error({ err: error }, 'reconcile failed; tried again'));
        repair(reconciler.snapshot);
      }
    }),
    server.closed,
    cniServer?.closed,
    options.cniChain === null
      ? undefined
      : cni?.keepInstalled(options.cniChain, {
          namespaces: () => settings.settings.excludeNamespaces ?? [],
          signal: ended,
          log: log.child({ component: 'cni' }),
        }),
  ]);
  await reconciler.idle();
  log.info({ event: 'stopped' }, 'agent stops; what it put in force stays');
}

/**
 * CAP_SYS_ADMIN is what setns(2) asks for, so without it no backend reaches a pod. Of eBPF it stands for CAP_BPF and
 * CAP_PERFMON, which are what the kernel asks for first.
 *
 * @throws SHUNT_E_NOT_ROOT before anything is opened, rather than for each pod
 */
function checkCapabilities(): void {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  const effective = BigInt(`0x${line?.[1] ?? '0'}`);
  if ((effective & (1n << CAP_SYS_ADMIN)) === 0n)
    throw new ShuntError(
      'SHUNT_E_NOT_ROOT',
      'CAP_SYS_ADMIN is missing, and only it enters the network namespace of a pod',
    );
}

async function watchPods(
  snapshots: AsyncIterator<Snapshot>,
  reconcile: (snapshot: Snapshot) => Promise<ReconcileReport>,
  rejections: Rejections,
  repair: (snapshot: Snapshot) => void,
  log: Logger,
): Promise<void> {
  for (let next = await snapshots.next(); next.done !== true; next = await snapshots.next()) {
    rejections.tell(next.value);
    await reconcile(next.value).catch((error) => log.error({ err: error }, 'reconcile failed; tried again'));
    repair(next.value);
  }
}

function tellSettings(settings: SettingsFile, outcome: 'changed' | 'rejected', log: Logger): void {
  const { path: file, error } = settings;
  if (outcome === 'changed') log.info({ event: 'settings', file }, 'settings taken');
  else {
    log.error(
      { event: 'settings-rejected', file, ...error?.toJSON() },
      'settings not taken: the last good ones stay in force',
    );
  }
}

/** Log lines for what a source could not take, and for its recovery: once each. */
class Rejections {
  readonly #log: Logger;
  #told = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  tell(snapshot: Snapshot): void {
    const now = new Map<string, string>();
    for (const { file, error } of snapshot.rejected) {
      const key = `${file} ${error.message}`;
      now.set(key, file);
      if (this.#told.has(key)) continue;
      if (error.code.startsWith('SHUNT_E_KUBE_')) {
        this.#log.error(
          { event: 'source-failed', file, ...error.toJSON() },
          'nothing new is learnt of the pods; what is enforced stays',
        );
      } else this.#log.error({ event: 'manifest-rejected', file, ...error.toJSON() }, 'manifest not taken');
    }
    if (now.size === 0 && this.#told.size > 0) {
      this.#log.info(
        { event: 'source-recovered', files: [...new Set(this.#told.values())] },
        'all is taken again',
      );
    }
    this.#told = now;
  }
}

/** Pods that have no process yet are looked for again, without waiting for the next event or the next full pass. */
async function lookAgain(
  reconciler: Reconciler,
  repair: (snapshot: Snapshot) => void,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const at = reconciler.nextRetryMs;
    const waitMs = at === null ? IDLE_RETRY_MS : Math.max(0, Math.min(IDLE_RETRY_MS, at - performance.now()));
    await delay(waitMs, undefined, { signal }).catch(() => {});
    if (signal.aborted || at === null || at > performance.now()) continue;
    await reconciler.retry().catch((error) => log.error({ err: error }, 'reconcile failed; tried again'));
    repair(reconciler.snapshot);
  }
}

async function reconcilePeriodically(
  intervalMs: number,
  sweep: () => Promise<void>,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await delay(intervalMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    await sweep().catch((error) => log.error({ err: error }, 'reconcile failed; tried again'));
  }
}

/**
 * Kernel events as log lines, repeats limited. A refusal for want of a listener looks for one at once; a claim to be the
 * sidecar looks whether its container has a new cgroup.
 */
async function tellEvents(
  datapath: Datapath,
  reconciler: Reconciler,
  reconcile: () => Promise<ReconcileReport>,
  tally: Tally,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const limiter = new RepeatLimiter();
  for await (const event of datapath.events(signal)) {
    tally.kernelEvent(event.kind);
    const workload = reconciler.workloadOf(event.netns);
    const pod = workload === undefined ? null : labelOf(workload);
    const repeats = limiter.admit(`${event.kind} ${event.netns}`);
    if (repeats === null) continue;
    log.warn({ ...fields(event), pod, repeats }, `kernel event: ${event.kind}`);
    if (workload === undefined) continue;
    try {
      if (event.kind === 'inbound-refused') datapath.recapture(workload);
      // A listener that no program can be given may mean another backend.
      if (event.kind === 'impersonation' || event.kind === 'listener-lost') await reconcile();
    } catch (error) {
      log.warn({ err: error, pod }, `cannot act on kernel event: ${event.kind}`);
    }
  }
}

function fields(event: DatapathEvent): object {
  return { event: event.kind, ...event, kind: undefined };
}
