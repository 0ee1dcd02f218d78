/** The integrity suite for as long as asked: plain, accelerated and `full`, under each sidecar there is. */
import { flags } from '../../src/lab/flags.ts';
import type { SidecarKind } from '../../src/lab/sidecar.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';
import { FaultBed } from '../faults/bed.ts';
import { annotate } from './annotation.ts';
import { accelerated, redirecting } from './counted.ts';
import { fitForFull, kinds, type Plan, planOf, unexpected, wrong } from './plan.ts';
import { type Observations, Player, seedOf } from './player.ts';

const USAGE = `usage: npm run test:integrity -- [--minutes N] [--size N] [--seed TEXT] [--sidecar haproxy|envoy]
  --minutes  how long to go on after everything was played once; default 2
  --size     connections of each scenario at once; default 6
  --seed     decides sizes and bytes, with the number of the round
  --sidecar  default: each that is here
`;

const tally = { passed: 0, failed: 0 };

function judge(name: string, faults: readonly string[], said: string): void {
  tally[faults.length === 0 ? 'passed' : 'failed']++;
  process.stdout.write(`${faults.length === 0 ? 'ok  ' : 'FAIL'} ${name}: ${said}\n`);
  for (const fault of faults) process.stdout.write(`       ${fault}\n`);
}

function connections(seen: Observations): number {
  return [...seen].reduce((sum, [what, count]) => sum + (what.includes(' client: ') ? count : 0), 0);
}

/** @param sidecar real proxy of both pods */
async function suite(sidecar: SidecarKind, plan: Plan, seedText: string, endMs: number): Promise<void> {
  await using bed = await FaultBed.open(`integ${sidecar}`, { sidecar });
  await bed.start('--acceleration', 'off');
  await using player = await Player.start(bed.lab, bed.lab.pod('a'), bed.lab.pod('b'));
  const plain = await player.play(plan.parts, seedOf(seedText));
  judge(`${sidecar} plain`, wrong(plain), `${connections(plain)} connections, ${kinds(plain).length} kinds`);
  const { enabled, reason } = await bed.client.setAcceleration(true);
  if (!enabled) {
    process.stdout.write(`skipped: ${sidecar} accelerated: ${reason}\n`);
    return;
  }
  const compared = async (name: string, parts: Plan['parts'], seed: number): Promise<void> => {
    const before = await accelerated(bed);
    const seen = await player.play(parts, seed);
    const messages = (await accelerated(bed)) - before;
    const faults = unexpected(seen, plain);
    if (messages === 0n) faults.push('no message was redirected');
    judge(name, faults, `${connections(seen)} connections, ${messages} messages redirected`);
  };
  const disturbed = async (name: string, seed: number): Promise<void> => {
    const before = await accelerated(bed);
    const playing = player.play(plan.lasting, seed);
    await redirecting(bed, before + 100n);
    for (let turn = 0; turn < 40; turn++) await bed.client.setAcceleration(turn % 2 === 1);
    await bed.stop('SIGKILL');
    await bed.start();
    const seen = await playing;
    const faults = [...seen.keys()].filter((what) => !what.endsWith(': ok'));
    judge(name, faults, `${connections(seen)} connections, kill switch turned 40 times, agent killed`);
  };
  for (let round = 0; round === 0 || performance.now() < endMs; round++) {
    const seed = seedOf(`${seedText} ${round}`);
    await compared(`${sidecar} accelerated, round ${round}`, plan.parts, seed);
    await disturbed(`${sidecar} disturbed, round ${round}`, seed);
  }
  await annotate(bed, 'full');
  for (let round = 0; round < 2; round++) {
    const seed = seedOf(`${seedText} full ${round}`);
    await compared(`${sidecar} full, round ${round}`, fitForFull(plan.parts), seed);
  }
}

const { values } = flags(USAGE, {
  options: {
    minutes: { type: 'string', default: '2' },
    size: { type: 'string', default: '6' },
    seed: { type: 'string', default: String(Date.now()) },
    sidecar: { type: 'string' },
  },
});
const [minutes, size] = [Number(values.minutes), Number(values.size)];
const wanted = (['haproxy', 'envoy'] as const).filter((kind) => (values.sidecar ?? kind) === kind);
if (!(minutes >= 0) || !(size >= 1) || wanted.length === 0) {
  process.stderr.write(USAGE);
  process.exit(2);
}
for (const kind of wanted) {
  try {
    SIDECARS[kind].locate();
  } catch {
    process.stdout.write(`skipped: ${kind} is not here\n`);
    continue;
  }
  const endMs = performance.now() + (minutes * 60_000) / wanted.length;
  await suite(kind, planOf(size, kind), values.seed, endMs);
}
process.stdout.write(`\n${tally.passed} passed, ${tally.failed} failed (seed ${values.seed})\n`);
process.exitCode = tally.failed === 0 && tally.passed > 0 ? 0 : 1;
