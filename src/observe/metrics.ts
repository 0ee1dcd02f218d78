/** The agent's metrics in Prometheus' text form. All but durations are read when they are asked for. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { METRICS, type MetricName, type Sample } from './metric_list.ts';

type Observed = 'shunt_reconcile_duration_seconds';

/** Every metric as it stands; a metric without samples has its name and help alone. */
export type Readings = { readonly [M in Exclude<MetricName, Observed>]: readonly Sample<M>[] };

/** Seconds: one pod is some milliseconds, 500 on iptables are some seconds. */
const BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

interface AnySample {
  value: number;
  labels?: Readonly<Record<string, string>> | undefined;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #read: () => Readings;
  readonly #writers = new Map<string, (samples: readonly AnySample[]) => void>();
  readonly #durations: Histogram;
  #running: Promise<string> | null = null;

  /** @param read asked once a scrape */
  constructor(read: () => Readings) {
    this.#read = read;
    const registers = [this.#registry];
    const durations: Observed = 'shunt_reconcile_duration_seconds';
    for (const [name, { type, help, labels }] of Object.entries(METRICS)) {
      if (name === durations) continue;
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
    this.#durations = new Histogram({
      name: durations,
      help: METRICS[durations].help,
      buckets: BUCKETS,
      registers,
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  reconciled(tookMs: number): void {
    this.#durations.observe(tookMs / 1000);
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
