/** The agent's state as metrics. */
import type { CounterName } from '../datapath/ebpf/counters.ts';
import { LAYOUT_VERSION } from '../datapath/ebpf/objects.ts';
import type { Datapath } from '../datapath/interface.ts';
import type { Sample } from '../observe/metric_list.ts';
import { METRICS } from '../observe/metric_list.ts';
import type { CniCommand, CniResult, Readings } from '../observe/metrics.ts';
import type { Watch } from '../pod/kubernetes/source.ts';
import { VERSION } from '../version.ts';
import type { Backend } from './backend.ts';
import type { PodState } from './pod_entry.ts';
import type { Reconciler } from './reconciler.ts';
import type { SettingsFile } from './settings_file.ts';

/** What this process counts itself. */
export class Tally {
  /** Connections that were there before their pod was enrolled, and pass by its sidecar. */
  establishedBefore = 0;
  reconcileFailures = 0;
  /** Unix time, seconds. */
  lastSuccess = 0;
  driftRepaired = 0;
  driftOutstanding = 0;
  readonly kernelEvents = new Map<string, number>();
  /** By command and result. */
  readonly cni = new Map<`${CniCommand} ${CniResult}`, number>();

  kernelEvent(kind: string): void {
    this.kernelEvents.set(kind, (this.kernelEvents.get(kind) ?? 0) + 1);
  }

  cniServed(command: CniCommand, result: CniResult): void {
    const key = `${command} ${result}` as const;
    this.cni.set(key, (this.cni.get(key) ?? 0) + 1);
  }
}

export interface Observed {
  backend: Backend;
  reconciler: Reconciler;
  settings: SettingsFile;
  watches(): readonly Watch[];
  /** Whether the plugin may call. */
  servesCni: boolean;
  tally: Tally;
}

/** Everything a scrape tells. Maps are read in batches, pods from memory. */
export function readings(observed: Observed): Readings {
  const { backend, reconciler, settings, tally } = observed;
  const { datapath } = backend;
  const states = reconciler.states();
  const acceleration = datapath.acceleration();
  const links = datapath.links();
  const maps = datapath.maps();
  const attached = links.filter((link) => link.attached).length;
  const { rss } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    shunt_build_info: [
      { labels: { version: VERSION, node: process.version, layout: String(LAYOUT_VERSION) }, value: 1 },
    ],
    shunt_backend_info: [{ labels: { backend: datapath.backend, reason: backend.cause }, value: 1 }],
    shunt_pods: podsByState(states),
    shunt_iptables_pods: METRICS.shunt_iptables_pods.labels.reason.map((reason) => {
      const given = states.filter(({ backend: by, causes }) => by === 'iptables' && causes.includes(reason));
      return { labels: { reason }, value: given.length };
    }),
    ...ofKernel(datapath, tally),
    shunt_kernel_events_total: METRICS.shunt_kernel_events_total.labels.kind.map((kind) => {
      return { labels: { kind }, value: tally.kernelEvents.get(kind) ?? 0 };
    }),
    shunt_acceleration_enabled: one(acceleration.enabled ? 1 : 0),
    shunt_canary_passed: (acceleration.canary ?? []).map(({ name, fault }) => {
      return { labels: { item: name }, value: fault === null ? 1 : 0 };
    }),
    shunt_map_entries: maps.flatMap(({ name, entries }) =>
      entries === null ? [] : [{ labels: { map: name }, value: entries }],
    ),
    shunt_map_capacity: maps.map(({ name, capacity }) => ({ labels: { map: name }, value: capacity })),
    shunt_links: [
      { labels: { attached: 'true' }, value: attached },
      { labels: { attached: 'false' }, value: links.length - attached },
    ],
    shunt_reconcile_failures_total: one(tally.reconcileFailures),
    shunt_reconcile_last_success_timestamp_seconds: one(tally.lastSuccess),
    shunt_drift_repaired_total: one(tally.driftRepaired),
    shunt_drift_outstanding: one(tally.driftOutstanding),
    ...ofWatches(observed.watches()),
    shunt_cni_requests_total: observed.servesCni ? cniRequests(tally) : [],
    shunt_manifests_rejected: one(reconciler.snapshot.rejected.length),
    shunt_settings_rejected: one(settings.error === null ? 0 : 1),
    process_resident_memory_bytes: one(rss),
    process_cpu_seconds_total: one((user + system) / 1e6),
    process_start_time_seconds: one(Date.now() / 1000 - process.uptime()),
  };
}

function one(value: number): [{ value: number }] {
  return [{ value }];
}

function ofWatches(
  watches: readonly Watch[],
): Pick<
  Readings,
  | 'shunt_watch_events_total'
  | 'shunt_watch_last_event_timestamp_seconds'
  | 'shunt_watch_lists_total'
  | 'shunt_watch_restarts_total'
> {
  const { type: types } = METRICS.shunt_watch_events_total.labels;
  const { reason: reasons } = METRICS.shunt_watch_restarts_total.labels;
  return {
    shunt_watch_events_total: watches.flatMap(({ resource, counters }) =>
      types.map((type) => ({ labels: { resource, type }, value: counters.events[type] })),
    ),
    shunt_watch_last_event_timestamp_seconds: watches.map(({ resource, counters }) => {
      return { labels: { resource }, value: counters.lastEventSeconds };
    }),
    shunt_watch_lists_total: watches.map(({ resource, counters }) => {
      return { labels: { resource }, value: counters.requests.lists };
    }),
    shunt_watch_restarts_total: watches.flatMap(({ resource, counters }) =>
      reasons.map((reason) => ({ labels: { resource, reason }, value: counters.restarts[reason] })),
    ),
  };
}

function cniRequests({ cni }: Tally): Sample<'shunt_cni_requests_total'>[] {
  const { command: commands, result: results } = METRICS.shunt_cni_requests_total.labels;
  return commands.flatMap((command) =>
    results.map((result) => ({ labels: { command, result }, value: cni.get(`${command} ${result}`) ?? 0 })),
  );
}

function podsByState(states: readonly PodState[]): Sample<'shunt_pods'>[] {
  const { state: all, backend: backends } = METRICS.shunt_pods.labels;
  return all.flatMap((state) =>
    backends
      .filter((backend) => state === 'failed' || (state === 'left') === (backend === 'none'))
      .map((backend) => {
        const found = states.filter((pod) => pod.state === state && (pod.backend ?? 'none') === backend);
        return { labels: { state, backend }, value: found.length };
      }),
  );
}

/** Without eBPF nothing is counted, which is not the same as nothing. */
function ofKernel(
  datapath: Datapath,
  tally: Tally,
): Pick<
  Readings,
  | 'shunt_connections_total'
  | 'shunt_bypass_total'
  | 'shunt_dns_redirected_total'
  | 'shunt_impersonations_total'
  | 'shunt_original_destinations_total'
  | 'shunt_listeners_total'
  | 'shunt_kernel_events_lost_total'
  | 'shunt_accelerated_ends_total'
  | 'shunt_accelerated_bytes_total'
  | 'shunt_messages_total'
> {
  const totals: Partial<Record<CounterName, bigint>> = datapath.counters();
  const sample = (name: CounterName): [{ value: number }] | [] =>
    totals[name] === undefined ? [] : [{ value: Number(totals[name]) }];
  const labelled = <L>(rows: readonly (readonly [CounterName, L])[]): { labels: L; value: number }[] =>
    rows.flatMap(([name, labels]) => sample(name).map(({ value }) => ({ labels, value })));
  const outbound = 'outbound' as const;
  const inbound = 'inbound' as const;
  return {
    shunt_connections_total: labelled([
      ['outboundRedirected', { direction: outbound, verdict: 'redirected' }],
      ['outboundPassed', { direction: outbound, verdict: 'passed' }],
      ['outboundRefused', { direction: outbound, verdict: 'refused' }],
      ['selfCall', { direction: outbound, verdict: 'self-call' }],
      ['sidecarPassed', { direction: outbound, verdict: 'sidecar' }],
      ['inboundSteered', { direction: inbound, verdict: 'redirected' }],
      ['inboundPassed', { direction: inbound, verdict: 'passed' }],
      ['inboundRefused', { direction: inbound, verdict: 'refused' }],
    ]),
    shunt_bypass_total: [
      { labels: { reason: 'established-before' }, value: tally.establishedBefore },
      ...labelled([['dnsPassed', { reason: 'query-no-memory' }]] as const),
    ],
    shunt_dns_redirected_total: sample('dnsRedirected'),
    shunt_impersonations_total: sample('impersonated'),
    shunt_original_destinations_total: labelled([
      ['originalDst', { outcome: 'told' }],
      ['pairLost', { outcome: 'lost' }],
    ]),
    shunt_listeners_total: labelled([
      ['listenerCaptured', { outcome: 'captured' }],
      ['listenerLost', { outcome: 'lost' }],
    ]),
    shunt_kernel_events_lost_total: sample('eventLost'),
    shunt_accelerated_ends_total: labelled([
      ['paired', { stage: 'paired' }],
      ['promoted', { stage: 'promoted' }],
    ]),
    shunt_accelerated_bytes_total: sample('acceleratedBytes'),
    shunt_messages_total: labelled([
      ['acceleratedMessages', { path: 'accelerated' }],
      ['tcpMessages', { path: 'tcp' }],
    ]),
  };
}
