/**
 * Every metric of the agent. A name, its labels and their values are stable: dashboards and alerts may rely on them.
 * docs/metrics.md is made from this table.
 */
interface Metric {
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  /** Values of each label; a sentence where they are names of something. */
  labels: Readonly<Record<string, readonly string[] | string>>;
}

const BACKENDS = ['ebpf', 'iptables'] as const;
const RESOURCES = ['pods', 'namespaces'] as const;
const CNI_COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'unknown'] as const;

export const METRICS = {
  shunt_build_info: {
    type: 'gauge',
    help: 'Always 1; the labels tell what runs',
    labels: { version: 'of Shunt', node: 'of Node.js', layout: 'of the pinned maps' },
  },
  shunt_backend_info: {
    type: 'gauge',
    help: "Always 1; the labels tell the node's backend, and why it is that one",
    labels: {
      backend: BACKENDS,
      reason: [
        'asked',
        'capable',
        'limited',
        'old-kernel',
        'no-cgroup2',
        'no-bpffs',
        'bpf-denied',
        'load-failed',
        'no-libbpf',
      ],
    },
  },
  shunt_pods: {
    type: 'gauge',
    help: 'Pods known, by state and by the backend that enforces them; a failed pod with a backend stays as it was enrolled before',
    labels: { state: ['enrolled', 'left', 'failed'], backend: [...BACKENDS, 'none'] },
  },
  shunt_iptables_pods: {
    type: 'gauge',
    help: 'Pods that iptables enforces, by reason; a pod that eBPF cannot follow for two reasons counts under both',
    labels: {
      reason: [
        'node',
        'asked',
        'sidecar',
        'uid-ports',
        'pod-ip-order',
        'interfaces',
        'virtual-networks',
        'drop-invalid',
      ],
    },
  },
  shunt_connections_total: {
    type: 'counter',
    help: 'TCP connections decided by eBPF; outbound at connect(), inbound at the lookup of a listener',
    labels: {
      direction: ['outbound', 'inbound'],
      verdict: ['redirected', 'passed', 'refused', 'self-call', 'sidecar'],
    },
  },
  shunt_bypass_total: {
    type: 'counter',
    help: 'Connections and queries that passed by the sidecar although the policy captures them; to stay 0',
    labels: { reason: ['established-before', 'query-no-memory'] },
  },
  shunt_dns_redirected_total: {
    type: 'counter',
    help: "DNS queries sent to the mesh's resolver; a connected socket counts once",
    labels: {},
  },
  shunt_impersonations_total: {
    type: 'counter',
    help: "Connections of processes with the sidecar's uid or gid outside its container, captured like any other",
    labels: {},
  },
  shunt_original_destinations_total: {
    type: 'counter',
    help: 'Original destinations of redirected connections: told to the sidecar, or lost, which makes it refuse the connection',
    labels: { outcome: ['told', 'lost'] },
  },
  shunt_listeners_total: {
    type: 'counter',
    help: 'Listeners of sidecars as they started to listen for inbound connections',
    labels: { outcome: ['captured', 'lost'] },
  },
  shunt_kernel_events_total: {
    type: 'counter',
    help: 'Events that the programs told this agent of',
    labels: {
      kind: ['impersonation', 'inbound-refused', 'storage-failed', 'pair-lost', 'listener-lost'],
    },
  },
  shunt_kernel_events_lost_total: {
    type: 'counter',
    help: 'Events that found the ring full; what they tell of is counted all the same',
    labels: {},
  },
  shunt_acceleration_enabled: {
    type: 'gauge',
    help: '1 while connections may be accelerated',
    labels: {},
  },
  shunt_canary_passed: {
    type: 'gauge',
    help: 'Whether acceleration left a thing as it is over TCP when this agent tried it at its start; absent where it could not try',
    labels: {
      item: [
        'redirect',
        'order',
        'bound',
        'wake-ups',
        'half close',
        'reset',
        'unread bytes',
        'unread redirected bytes',
        'splice',
      ],
    },
  },
  shunt_accelerated_ends_total: {
    type: 'counter',
    help: 'Connections whose two ends were matched (paired), and ends of them put into the sockhash (promoted)',
    labels: { stage: ['paired', 'promoted'] },
  },
  shunt_accelerated_bytes_total: {
    type: 'counter',
    help: 'Bytes that went from socket to socket past TCP',
    labels: {},
  },
  shunt_messages_total: {
    type: 'counter',
    help: 'Messages sent on promoted connections, by the way they went',
    labels: { path: ['accelerated', 'tcp'] },
  },
  shunt_map_entries: {
    type: 'gauge',
    help: 'Entries of a pinned map',
    labels: { map: 'as `shunt map list` names it' },
  },
  shunt_map_capacity: {
    type: 'gauge',
    help: 'Entries that a pinned map has room for; full refuses and reports, never evicts',
    labels: { map: 'as `shunt map list` names it' },
  },
  shunt_links: {
    type: 'gauge',
    help: "The node's attachments, and those whose cgroup is gone",
    labels: { attached: ['true', 'false'] },
  },
  shunt_reconcile_duration_seconds: {
    type: 'histogram',
    help: 'Passes over all pods',
    labels: {},
  },
  shunt_reconcile_failures_total: {
    type: 'counter',
    help: 'Passes that ended with an error before every pod was looked at',
    labels: {},
  },
  shunt_reconcile_last_success_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last whole pass ended, Unix time; 0 before the first',
    labels: {},
  },
  shunt_drift_repaired_total: {
    type: 'counter',
    help: 'Differences between what was wanted and what the kernel held, repaired',
    labels: {},
  },
  shunt_drift_outstanding: {
    type: 'gauge',
    help: 'Differences that the last pass found and left',
    labels: {},
  },
  shunt_watch_events_total: {
    type: 'counter',
    help: 'Events of the watches at the API server; none with pods from files',
    labels: { resource: RESOURCES, type: ['added', 'modified', 'deleted', 'bookmark'] },
  },
  shunt_watch_last_event_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last event came, bookmarks among them, Unix time; 0 before the first',
    labels: { resource: RESOURCES },
  },
  shunt_watch_lists_total: {
    type: 'counter',
    help: 'LISTs begun: one at the start, and one whenever a watch could not go on where it was',
    labels: { resource: RESOURCES },
  },
  shunt_watch_restarts_total: {
    type: 'counter',
    help: 'Watches and LISTs begun anew, by what ended the one before; ended is the server in its own time',
    labels: {
      resource: RESOURCES,
      reason: ['ended', 'expired', 'silent', 'refused', 'broken', 'answer'],
    },
  },
  shunt_cni_requests_total: {
    type: 'counter',
    help: 'Calls of the CNI plugin; of calls that could not be read the command is unknown',
    labels: { command: CNI_COMMANDS, result: ['ok', 'try-again', 'failed'] },
  },
  shunt_cni_duration_seconds: {
    type: 'histogram',
    help: 'Calls of the CNI plugin, from its request read to the answer written',
    labels: { command: CNI_COMMANDS },
  },
  shunt_manifests_rejected: {
    type: 'gauge',
    help: 'Manifests that are not understood; their pods stay as they were',
    labels: {},
  },
  shunt_settings_rejected: {
    type: 'gauge',
    help: '1 while the settings file is wrong and the last good settings are in force',
    labels: {},
  },
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory of the agent', labels: {} },
  process_cpu_seconds_total: { type: 'counter', help: 'CPU time of the agent', labels: {} },
  process_start_time_seconds: { type: 'gauge', help: 'When the agent started, Unix time', labels: {} },
} as const satisfies Record<string, Metric>;

export type MetricName = keyof typeof METRICS;

type LabelsOf<M extends MetricName> = {
  readonly [L in keyof (typeof METRICS)[M]['labels']]: (typeof METRICS)[M]['labels'][L] extends readonly (infer Value)[]
    ? Value
    : string;
};

/** One value of a metric; its labels are those of the table, and so are their values. */
export type Sample<M extends MetricName> = { value: number } & (keyof LabelsOf<M> extends never
  ? { labels?: undefined }
  : { labels: LabelsOf<M> });
