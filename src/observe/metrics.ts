/** The agent's metrics in Prometheus' text form. All but durations are read when they are asked for. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { METRICS, type MetricName, type Sample } from './metric_list.ts';

type Observed = 'shunt_reconcile_duration_seconds' | 'shunt_cni_duration_seconds';

/** Every metric as it stands; a metric without samples has its name and help alone. */
export type Readings = { readonly [M in Exclude<MetricName, Observed>]: readonly Sample<M>[] };

/** Seconds. */
const BUCKETS: Record<Observed, number[]> = {
  // One pod is some milliseconds, 500 on iptables are some seconds.
  shunt_reconcile_duration_seconds: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
  // Between 1 ms for a pod that is left and the 10 s that a pod is waited for.
  shunt_cni_duration_seconds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2, 10, 15],
};

export type CniCommand = (typeof METRICS)['shunt_cni_duration_seconds']['labels']['command'][number];
export type CniResult = (typeof METRICS)['shunt_cni_requests_total']['labels']['result'][number];

interface AnySample {
  value: number;
  labels?: Readonly<Record<string, string>> | undefined;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #read: () => Readings;
  readonly #writers = new Map<string, (samples: readonly AnySample[]) => void>();
  readonly #durations: Record<Observed, Histogram>;
  #running: Promise<string> | null = null;

  /** @param read asked once a scrape */
  constructor(read: () => Readings) {
    this.#read = read;
    const registers = [this.#registry];
    for (const [name, { type, help, labels }] of Object.entries(METRICS)) {
      if (type === 'histogram') continue;
      const options = { name, help, labelNames: Object.keys(labels), registers };
      if (type === 'gauge') {
        const gauge = new Gauge(options);
        this.#writers.set(name, (samples) => {
          gauge.reset();
          for (const { labels: own, value } of samples) gauge.set({ ...own }, value);
        });
      } else {
        // The kernel keeps the count: what is published is its value, not what was added here.
        const counter = new Counter(options);
        this.#writers.set(name, (samples) => {
          counter.reset();
          for (const { labels: own, value } of samples) counter.inc({ ...own }, value);
        });
      }
    }
    const histogram = (name: Observed): Histogram => {
      const { help, labels } = METRICS[name];
      return new Histogram({
        name,
        help,
        labelNames: Object.keys(labels),
        buckets: BUCKETS[name],
        registers,
      });
    };
    this.#durations = {
      shunt_reconcile_duration_seconds: histogram('shunt_reconcile_duration_seconds'),
      shunt_cni_duration_seconds: histogram('shunt_cni_duration_seconds'),
    };
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  reconciled(tookMs: number): void {
    this.#durations.shunt_reconcile_duration_seconds.observe(tookMs / 1000);
  }

  cniServed(command: CniCommand, tookMs: number): void {
    this.#durations.shunt_cni_duration_seconds.observe({ command }, tookMs / 1000);
  }

  /** One scrape; those that ask meanwhile get the same. Rejects with what the reading threw. */
  async text(): Promise<string> {
    this.#running ??= this.#scrape().finally(() => {
      this.#running = null;
    });
    return await this.#running;
  }

  async #scrape(): Promise<string> {
    for (const [name, samples] of Object.entries(this.#read())) this.#writers.get(name)?.(samples);
    return await this.#registry.metrics();
  }
}
