/** What is said of samples: medians, and ratios of the same round. */

/** @param share 0 to 1; nearest rank */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

export interface Ratio {
  /** Median over the rounds. */
  median: number;
  /** Tenth and ninetieth percentile of the rounds. */
  low: number;
  high: number;
}

/** Ratios of the samples of one round to each other, so that what the machine did meanwhile meets both. */
export function ratio(values: readonly number[], base: readonly number[]): Ratio {
  const ratios = values.map((value, round) => value / (base[round] ?? Number.NaN));
  return { median: median(ratios), low: percentile(ratios, 0.1), high: percentile(ratios, 0.9) };
}
