/** What is watched of a running agent: the probes, the metrics, and the connections that a pod had before its enrolment. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Health } from '../observe/health.ts';
import { type CniCommand, type CniResult, Metrics } from '../observe/metrics.ts';
import { type ListenAddress, serveMetrics } from '../observe/metrics_server.ts';
import type { Workload } from '../pod/workload.ts';
import type { ReconcileReport } from './api.ts';
import { labelOf } from './desire.ts';
import { countBypassing } from './earlier_connections.ts';
import { type Observed, readings, Tally } from './readings.ts';
import type { ReconcileObserver } from './reconciler.ts';

export class Observation implements ReconcileObserver, AsyncDisposable {
  readonly tally = new Tally();
  readonly #log: Logger;
  readonly #health: Health;
  #observed: Observed | null = null;
  readonly #metrics = new Metrics(() => {
    if (this.#observed === null) throw new TypeError('nothing to read yet');
    return readings(this.#observed);
  });
  #server: AsyncDisposable | null = null;
  readonly #enrolled: Workload[] = [];
  #counting = false;

  /** @param intervalMs at which passes are begun */
  constructor(intervalMs: number, log: Logger) {
    this.#log = log;
    this.#health = new Health({ intervalMs });
  }

  /** @throws SHUNT_E_METRICS_LISTEN */
  async serve(address: ListenAddress): Promise<void> {
    const metrics = () => (this.#observed === null ? null : this.#metrics);
    const failed = (error: unknown) => this.#log.error({ err: error }, 'the metrics cannot be read');
    const server = await serveMetrics(address, this.#health, metrics, failed);
    this.#server = server;
    this.#log.info({ event: 'metrics-listening', address: server.address }, 'metrics are served');
  }

  /** The data plane runs. */
  started(observed: Omit<Observed, 'tally'>): void {
    this.#observed = { ...observed, tally: this.tally };
    this.#health.started();
  }

  ending(): void {
    this.#health.ending();
  }

  began(): void {
    this.#health.passBegan();
  }

  ended(tookMs: number, report: ReconcileReport | null): void {
    this.#health.passEnded(report !== null);
    this.#metrics.reconciled(tookMs);
    if (report === null) this.tally.reconcileFailures++;
    else {
      this.tally.lastSuccess = Date.now() / 1000;
      this.tally.driftRepaired += report.repaired.length;
      this.tally.driftOutstanding = report.outstanding.length;
    }
  }

  /** A call of the CNI plugin was answered. */
  cniServed(command: CniCommand, result: CniResult, tookMs: number): void {
    this.tally.cniServed(command, result);
    this.#metrics.cniServed(command, tookMs);
  }

  /** Counted a little later, one pod a turn of the loop: no enrolment waits for it. */
  enrolled(workload: Workload): void {
    this.#enrolled.push(workload);
    if (this.#counting) return;
    this.#counting = true;
    void this.#countEarlier();
  }

  async #countEarlier(): Promise<void> {
    for (let next = await this.#next(); next !== undefined; next = await this.#next()) {
      const pod = labelOf(next);
      try {
        const connections = countBypassing(next);
        this.tally.establishedBefore += connections;
        if (connections === 0) continue;
        this.#log.warn(
          { event: 'bypass', reason: 'established-before', pod, connections },
          'connections from before the enrolment pass by the sidecar; restart the pod to end them',
        );
      } catch (error) {
        this.#log.debug({ err: error, pod }, 'cannot look for connections from before the enrolment');
      }
    }
    this.#counting = false;
  }

  async #next(): Promise<Workload | undefined> {
    await nextTurn();
    return this.#enrolled.shift();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }
}
