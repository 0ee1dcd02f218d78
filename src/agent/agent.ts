/** The agent: takes the lock, loads or adopts the data plane, and keeps it true to the manifests until told to stop. */
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { ShuntError } from '../errors.ts';
import type { ListenAddress } from '../observe/metrics_server.ts';
import { nodeNameservers } from '../pod/nameservers.ts';
import type { StatusReport } from './api.ts';
import { type BackendOptions, startBackend } from './backend.ts';
import { type CniChain, CniService } from './cni_service.ts';
import { actOnEvents } from './kernel_events.ts';
import { Observation } from './observation.ts';
import { Passes } from './passes.ts';
import { openPodSource, type PodSourceOptions } from './pod_source.ts';
import { Reconciler } from './reconciler.ts';
import { serveApi } from './server.ts';
import { SettingsFile } from './settings_file.ts';
import { tellSettings } from './source_log.ts';
import { statusOf } from './status.ts';

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
  using passes = new Passes({
    ...{ reconciler, cni, log, signal: ended },
    looked: (snapshot) => {
      source.repairer?.look(snapshot, (uid) => reconciler.isEnrolled(uid));
      source.annotationEvents?.look(snapshot, (uid) => reconciler.findings(uid));
    },
  });
  await passes.first(first.value);
  backend.tellOthers();

  const status = (): StatusReport =>
    statusOf({
      ...{ backend, reconciler, settings, source, startedAt },
      drift: passes.drift,
      bpffs: options.bpffs,
    });
  await using server = await serveApi({
    socket: options.socket,
    signal: ended,
    log: log.child({ component: 'api' }),
    handlers: {
      status,
      pods: () => reconciler.reports(),
      reconcile: () => passes.reconcile(),
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
    reconcileSoon: () => passes.soon(),
    served: (...call) => observation.cniServed(...call),
    signal: ended,
    log: log.child({ component: 'cni' }),
  });
  const {
    adopted,
    pods: { enrolled, left, failed },
  } = status();
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
    passes.follow(snapshots),
    passes.lookAgain(),
    passes.periodically(options.reconcileIntervalMs),
    source.repairer?.run(ended),
    source.annotationEvents?.run(ended),
    actOnEvents(
      { datapath, reconciler, reconcile: () => passes.reconcile(), tally: observation.tally, log },
      ended,
    ),
    backend.run(ended, (error) => log.error({ err: error }, 'promotion of connections failed')),
    settings.watch(ended, async (outcome) => {
      tellSettings(settings, outcome, log);
      if (outcome === 'changed') await passes.again();
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
