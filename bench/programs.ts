/**
 * What each of our programs costs, by the kernel's own account (kernel.bpf_stats_enabled): `npm run bench:programs`.
 * Needs root. Takes ten seconds.
 */
import { BenchBed } from '../src/cli/bench/bed.ts';
import { LIGHT_SIDECAR } from '../src/cli/bench/contenders.ts';
import { profilePrograms, profileText } from '../src/cli/bench/program_times.ts';
import { processIo } from '../src/cli/io.ts';
import { CLI } from '../test/fixtures/cli.ts';

const PREFIX = 'shunt-programs';

const io = processIo();
await using bed = await BenchBed.open(
  {
    cli: CLI,
    bpffs: '/sys/fs/bpf',
    prefix: PREFIX,
    sidecar: LIGHT_SIDECAR,
    contenders: ['redirect', 'accelerated'],
    paths: new Set(['pod']),
  },
  io,
);
for (const profile of await profilePrograms(bed)) io.out(`${profileText(profile)}\n`);
