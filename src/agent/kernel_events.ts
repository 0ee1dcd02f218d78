/** What the programs report, as log lines and as work for the agent. */
import type { Logger } from 'pino';
import type { Datapath, DatapathEvent } from '../datapath/interface.ts';
import { RepeatLimiter } from '../observe/log.ts';
import type { ReconcileReport } from './api.ts';
import { labelOf } from './desire.ts';
import type { Tally } from './readings.ts';
import type { Reconciler } from './reconciler.ts';

interface Listener {
  datapath: Datapath;
  reconciler: Reconciler;
  /** A pass over everything. */
  reconcile(): Promise<ReconcileReport>;
  tally: Tally;
  log: Logger;
}

/**
 * Tells each kernel event, repeats limited, until the signal. A refusal for want of a listener looks for one at once; a
 * claim to be the sidecar looks whether its container has a new cgroup.
 */
export async function actOnEvents(
  { datapath, reconciler, reconcile, tally, log }: Listener,
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
