/** What the agent says of itself as a whole. */
import { errorReport } from '../errors.ts';
import { VERSION } from '../version.ts';
import type { StatusReport } from './api.ts';
import type { Backend } from './backend.ts';
import type { PodSource } from './pod_source.ts';
import type { Reconciler } from './reconciler.ts';
import type { SettingsFile } from './settings_file.ts';

export interface AgentParts {
  backend: Backend;
  reconciler: Reconciler;
  settings: SettingsFile;
  source: PodSource;
  /** What the last pass over everything found. */
  drift: StatusReport['drift'];
  /** ISO 8601. */
  startedAt: string;
  /** Mount point of the BPF file system. */
  bpffs: string;
}

export function statusOf(parts: AgentParts): StatusReport {
  const { backend, reconciler, settings, source, drift, startedAt, bpffs } = parts;
  const { datapath } = backend;
  const { links, pods: adoptedPods } = datapath.adopted;
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
    bpffs,
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
    adopted: { links, pods: adoptedPods + (backend.beside?.adopted.pods ?? 0) },
    drift,
    acceleration: datapath.acceleration(),
    pods: { enrolled: count('enrolled'), left: count('left'), failed: count('failed') },
    enrolledBy,
    links: datapath.links(),
    maps: datapath.maps(),
  };
}
