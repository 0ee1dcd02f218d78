import type { Codec } from './codec.ts';
import { badValue } from './errors.ts';
import { possibleCpuCount } from './ffi.ts';
import { openPin } from './kernel_object.ts';
import { type MapCodecs, TypedMap } from './map.ts';

/** The kernel copies per-CPU values side by side, each rounded up to eight bytes. */
function stride(size: number): number {
  return Math.ceil(size / 8) * 8;
}

function perCpu<V>(value: Codec<V>, cpus: number): Codec<V[]> {
  const step = stride(value.size);
  return {
    size: step * cpus,
    read(view, offset) {
      const values: V[] = [];
      for (let cpu = 0; cpu < cpus; cpu++) values.push(value.read(view, offset + cpu * step));
      return values;
    },
    write(view, offset, values) {
      if (values.length !== cpus) throw badValue(`${values.length} values for ${cpus} possible CPUs`);
      values.forEach((one, cpu) => {
        value.write(view, offset + cpu * step, one);
      });
    },
  };
}

/** A map with one value for each possible CPU: `get` gives them all, `sum` adds them up. */
export class PerCpuMap<K, V> extends TypedMap<K, V[]> {
  constructor(
    fd: number,
    codecs: MapCodecs<K, V>,
    options: { name?: string | undefined; pinPath?: string | undefined } = {},
  ) {
    super(fd, { key: codecs.key, value: perCpu(codecs.value, possibleCpuCount()) }, options);
  }

  protected override valueBytes(): number {
    return stride(this.valueSize) * possibleCpuCount();
  }

  static fromPin<K, V>(path: string, codecs: MapCodecs<K, V>): PerCpuMap<K, V> {
    return new PerCpuMap(openPin(path, 'map'), codecs, { pinPath: path });
  }

  /** All CPUs' values added, number by number; undefined when the key is not there. */
  sum(key: K): V | undefined {
    const values = this.get(key);
    return values === undefined ? undefined : sumOf(values);
  }

  /** Every key with its sum. */
  *sums(): Generator<[K, V], void, void> {
    for (const [key, values] of this.entries()) yield [key, sumOf(values)];
  }
}

/**
 * Adds numbers and bigints of values of one shape, through arrays and objects; anything else (strings, bytes) is
 * the first CPU's.
 */
export function sumOf<V>(values: readonly V[]): V {
  const [first, ...rest] = values;
  if (first === undefined) throw badValue('nothing to sum');
  return rest.reduce((total, value) => add(total, value) as V, first);
}

function add(a: unknown, b: unknown): unknown {
  if (typeof a === 'number' && typeof b === 'number') return a + b;
  if (typeof a === 'bigint' && typeof b === 'bigint') return BigInt.asUintN(64, a + b);
  if (Array.isArray(a) && Array.isArray(b)) return a.map((item, i) => add(item, b[i]));
  if (isRecord(a) && isRecord(b)) {
    return Object.fromEntries(Object.entries(a).map(([name, value]) => [name, add(value, b[name])]));
  }
  return a;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
}
