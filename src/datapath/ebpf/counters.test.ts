import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { codec, PerCpuMap, possibleCpuCount } from 'libbpf-ts';
import { type TestBpffs, testBpffs } from '../../../test/fixtures/bpffs.ts';
import { median } from '../../lab/statistics.ts';
import { builtObjects } from './compile.ts';
import { RETIRED, readCounters, readTotals, retireCounters } from './counters.ts';
import { Counter, type Counters, CountersCodec } from './gen/objects.ts';
import { DEFAULT_SIZES, Objects } from './objects.ts';
import { Pins } from './pins.ts';

const PODS = 500;
const ROUNDS = 21;

describe('the counters of 500 pods', () => {
  let bpffs: TestBpffs;
  let map: PerCpuMap<bigint, Counters>;
  beforeEach(async () => {
    bpffs = testBpffs();
    const pins = new Pins(bpffs.path);
    pins.prepare();
    using _objects = await new Objects(builtObjects(), pins, DEFAULT_SIZES).loadNode();
    map = PerCpuMap.fromPin(pins.map('counters'), { key: codec.u64, value: CountersCodec });
    const cpus = possibleCpuCount();
    map.setMany(
      Array.from({ length: PODS }, (_, pod) => {
        const values = Array.from({ length: Counter.COUNTER_MAX }, (_, index) => BigInt(pod * index));
        return [BigInt(pod + 1), Array.from({ length: cpus }, () => ({ values }))] as const;
      }),
    );
  });
  afterEach(() => {
    map.close();
    bpffs[Symbol.dispose]();
  });

  it('are summed to what each of them says', () => {
    const sums = Array.from({ length: PODS }, (_, pod) => readCounters(map, BigInt(pod + 1)));
    const totals = readTotals(map);
    assert.ok(totals.acceleratedBytes > 0n);
    for (const [name, total] of Object.entries(totals)) {
      assert.equal(
        total,
        sums.reduce((sum, pod) => sum + (pod[name] ?? 0n), 0n),
        name,
      );
    }
  });

  it('stay in the sums when pods go', () => {
    const before = readTotals(map);
    for (let pod = 1n; pod <= 100n; pod++) retireCounters(map, pod);
    retireCounters(map, 9_999n);
    assert.equal(map.has(50n), false);
    assert.equal(map.has(RETIRED), true);
    assert.deepEqual(readTotals(map), before);
  });

  it('are read in batches in less time than one by one', (t) => {
    const batched: number[] = [];
    const single: number[] = [];
    // Interleaved, so that both meet the same machine; what is compared are the medians.
    for (let round = 0; round < ROUNDS; round++) {
      batched.push(timeOf(() => readTotals(map)));
      single.push(
        timeOf(() => {
          for (let pod = 1n; pod <= PODS; pod++) readCounters(map, pod);
        }),
      );
    }
    const [ours, theirs] = [median(batched), median(single)];
    t.diagnostic(
      `${PODS} pods, ${possibleCpuCount()} CPUs: ${ours.toFixed(2)} ms in batches, ${theirs.toFixed(2)} ms one by one`,
    );
    assert.ok(ours < theirs, `${ours} ms against ${theirs} ms`);
  });
});

function timeOf(work: () => void): number {
  const startedMs = performance.now();
  work();
  return performance.now() - startedMs;
}
