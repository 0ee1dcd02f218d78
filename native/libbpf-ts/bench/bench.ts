/** What the binding costs: `npm run bench:libbpf`. Needs root, clang and cc. Takes some twenty seconds. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BpfMap, libbpfVersion, type Program, type RingBufferMap } from 'libbpf-ts';
import { addressOf, libbpf, libc } from '../src/ffi.ts';
import { bench, SampleCodec, type Value } from './gen/bench.ts';
import { type Row, rowOf, table } from './table.ts';

const ENTRIES = 60_000;
const ROUNDS = 15;
const EVENTS = 20_000;
const WAKE_UPS = 200;
/** What the batch dump must be quicker by than reading one by one. */
const BATCH_FLOOR = 5;

const HERE = fileURLToPath(new URL('.', import.meta.url));

function compile(directory: string): { object: string; lookup: string } {
  const object = join(directory, 'bench.bpf.o');
  const lookup = join(directory, 'lookup');
  const machine = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
  const include = [`-I/usr/include/${machine}-linux-gnu`];
  execFileSync('clang', [
    '-O2',
    '-g',
    '-target',
    'bpf',
    ...include,
    '-c',
    join(HERE, 'bench.bpf.c'),
    '-o',
    object,
  ]);
  execFileSync('cc', ['-O2', join(HERE, 'lookup.c'), '-o', lookup]);
  return { object, lookup };
}

function nsOf(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start);
}

/** Nanoseconds for one of `count`, measured `ROUNDS` times in turn with the others, so that a busy moment hits all. */
function interleave<K extends string>(
  works: Record<K, { count: number; work: () => void }>,
): Record<K, number[]> {
  const samples = {} as Record<K, number[]>;
  const names = Object.keys(works) as K[];
  for (const name of names) {
    samples[name] = [];
    works[name].work(); // warm
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of names) samples[name].push(nsOf(works[name].work) / works[name].count);
  }
  return samples;
}

function mapRows(flows: BpfMap<bigint, Value>, lookup: string): { rows: Row[]; batchGain: number } {
  const keys = Array.from({ length: ENTRIES }, (_, i) => BigInt(i));
  const value: Value = { packets: 1n, backend: 2, address: 3 };
  const pairs = keys.map((key) => [key, value] as const);
  let sum = 0;
  const walk = (batch?: number): void => {
    let seen = 0;
    for (const [, { backend }] of flows.entries(batch === undefined ? {} : { batch })) {
      sum += backend;
      seen++;
    }
    if (seen !== ENTRIES) throw new Error(`${seen} entries of ${ENTRIES}`);
  };
  flows.setMany(pairs);
  const found = interleave({
    call: {
      count: ENTRIES,
      work: () => {
        for (let i = 0; i < ENTRIES; i++) sum += libc.getpagesize();
      },
    },
    lookup: {
      count: ENTRIES,
      work: () => {
        for (const key of keys) sum += flows.get(key)?.backend ?? 0;
      },
    },
    update: {
      count: ENTRIES,
      work: () => {
        for (const key of keys) flows.set(key, value);
      },
    },
    updateBatch: { count: ENTRIES, work: () => void flows.setMany(pairs) },
    dump: { count: ENTRIES, work: () => walk(0) },
    dumpBatch: { count: ENTRIES, work: () => walk() },
  });
  if (sum === 0) throw new Error('nothing was read');
  const bare = execFileSync(lookup, [String(flows.id), String(ENTRIES), String(ROUNDS)], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map(Number);
  const lookupInC = rowOf('lookup in C, no Node', bare, 'ns');
  const dump = rowOf(`dump of ${ENTRIES}, one by one`, found.dump, 'ns/entry');
  const dumpBatch = rowOf(`dump of ${ENTRIES}, batched`, found.dumpBatch, 'ns/entry', dump);
  const update = rowOf('set', found.update, 'ns');
  return {
    rows: [
      rowOf('FFI call of a C function that does nothing', found.call, 'ns'),
      lookupInC,
      rowOf('get', found.lookup, 'ns', lookupInC),
      update,
      rowOf('setMany', found.updateBatch, 'ns/entry', update),
      dump,
      dumpBatch,
    ],
    batchGain: dump.median / dumpBatch.median,
  };
}

/** Runs the program in the kernel `repeat` times, attached to nothing. */
function testRun(program: Program, repeat: number): void {
  const packet = new Uint8Array(64);
  const opts = new DataView(new ArrayBuffer(80)); // struct bpf_test_run_opts
  opts.setBigUint64(0, 80n, true);
  opts.setBigUint64(8, addressOf(packet), true);
  opts.setUint32(24, packet.length, true);
  opts.setInt32(60, repeat, true);
  const result = libbpf.bpf_prog_test_run_opts(program.fd, opts);
  if (result < 0) throw new Error(`test run: ${result}`);
}

async function ringRows(events: RingBufferMap, emit: Program): Promise<Row[]> {
  using ring = events.open(SampleCodec);
  const drain: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    testRun(emit, EVENTS);
    let seen = 0;
    const ns = nsOf(() => {
      ring.drain(({ number }) => {
        seen += number;
      });
    });
    if (seen !== EVENTS) throw new Error(`${seen} events of ${EVENTS}`);
    if (round > 0) drain.push(ns / EVENTS);
  }
  const wake: number[] = [];
  const iterator = ring.events();
  for (let i = 0; i < WAKE_UPS; i++) {
    const next = iterator.next();
    await new Promise((resolve) => setTimeout(resolve, 1)); // the reader waits in epoll by then
    testRun(emit, 1);
    const { value } = await next;
    if (value !== undefined) wake.push(Number(process.hrtime.bigint() - value.time_ns));
  }
  await iterator.return();
  return [
    rowOf('ring buffer: drain of an event', drain, 'ns/event'),
    rowOf('ring buffer: submit to reader, when it waits', wake, 'ns'),
  ];
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'libbpf-ts-bench-'));
  try {
    const { object, lookup } = compile(directory);
    using open = bench.open({ file: object });
    using loaded = await open.load();
    const { rows, batchGain } = mapRows(loaded.maps.flows, lookup);
    rows.push(...(await ringRows(loaded.maps.samples, loaded.programs.emit)));
    process.stdout.write(table(rows));
    const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} CPUs`;
    const versions = `Linux ${release()}, Node ${process.version}, libbpf ${libbpfVersion().text}`;
    process.stdout.write(`\n${ROUNDS} rounds, interleaved. ${machine}, ${versions}\n`);
    process.stdout.write(`a batched dump is ${batchGain.toFixed(1)} times as quick as one by one\n`);
    if (batchGain < BATCH_FLOOR) {
      process.stderr.write(`that is less than ${BATCH_FLOOR} times: batching does not work here\n`);
      process.exitCode = 1;
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

await main();
