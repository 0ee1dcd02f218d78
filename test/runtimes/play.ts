/** One runtime, played under every contender at once, and held against what it saw under iptables. */
import { inPath, isExecutable } from '../../src/lab/checkout.ts';
import { type Bed, type Carried, CONTENDERS, type Contender } from './bed.ts';
import type { RuntimeCase } from './cases/case.ts';
import { type Ends, EndWatch } from './ends.ts';
import { Stage, Unavailable } from './stage.ts';

export interface Played {
  seen: readonly string[];
  carried: Carried;
  /** Of its applications, by program. */
  ends: ReadonlyMap<string, Ends>;
}

export interface Outcome {
  case: RuntimeCase;
  /** Why it was not played; null where it was. */
  unavailable: string | null;
  played: ReadonlyMap<Contender, Played>;
  faults: readonly string[];
}

export interface PlayOptions {
  /** Why nothing is accelerated on this node; null where it is. */
  hindrance: string | null;
}

export async function play(bed: Bed, runtime: RuntimeCase, { hindrance }: PlayOptions): Promise<Outcome> {
  const base = { case: runtime, played: new Map<Contender, Played>(), faults: [] };
  const missing = Object.entries(runtime.needs).find(
    ([program]) => !(program.startsWith('/') ? isExecutable(program) : inPath(program) !== undefined),
  );
  if (missing !== undefined) return { ...base, unavailable: `${missing[0]} is not here (${missing[1]})` };
  try {
    await runtime.prepare?.(bed);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    return { ...base, unavailable: error.message };
  }
  const played = new Map(
    await Promise.all(
      CONTENDERS.map(async (contender) => [contender, await playOne(bed, runtime, contender)] as const),
    ),
  );
  return { ...base, unavailable: null, played, faults: judge(runtime, played, hindrance) };
}

async function playOne(bed: Bed, runtime: RuntimeCase, contender: Contender): Promise<Played> {
  await using stage = await Stage.open(bed, contender, runtime.name);
  const pods = [bed.pod(contender, 'client'), bed.pod(contender, 'server')];
  const watch = new EndWatch(bed.faults.bpffs, pods);
  try {
    await runtime.play(stage);
  } catch (error) {
    stage.note('failed', `error:${error instanceof Error ? error.message : error}`);
  }
  return { seen: [...stage.seen], carried: await stage.carried(), ends: await watch.ended() };
}

/** What is wrong, a sentence each. */
export function judge(
  runtime: Pick<RuntimeCase, 'taken' | 'left'>,
  played: ReadonlyMap<Contender, Played>,
  hindrance: string | null,
): string[] {
  const faults: string[] = [];
  const reference = played.get('iptables')?.seen ?? [];
  if (reference.length === 0) faults.push('iptables: nothing was seen');
  faults.push(...reference.filter((line) => line.includes('error:')).map((line) => `iptables: ${line}`));
  for (const [contender, { seen, carried, ends }] of played) {
    faults.push(...differences(reference, seen).map((line) => `${contender}: ${line}`));
    const mayCarry = (contender === 'accelerated' || contender === 'full') && hindrance === null;
    if (mayCarry && carried.bytes === 0n) faults.push(`${contender}: nothing was redirected`);
    if (!mayCarry && carried.bytes > 0n) faults.push(`${contender}: ${carried.bytes} bytes were redirected`);
    if (contender === 'full' && hindrance === null) faults.push(...misjudged(runtime, ends));
  }
  return faults;
}

/** Programs whose connections were taken up, and should not have been, or the other way round. */
function misjudged(runtime: Pick<RuntimeCase, 'taken' | 'left'>, ends: ReadonlyMap<string, Ends>): string[] {
  const taken = [...ends].filter(([, { promoted }]) => promoted > 0).map(([program]) => program);
  const among = (name: string): boolean => taken.some((program) => program.startsWith(name));
  return [
    ...runtime.taken
      .filter((name) => !among(name))
      .map((name) => `full: no connection of ${name} was taken up`),
    ...Object.entries(runtime.left)
      .filter(([name]) => among(name))
      .map(([name, why]) => `full: connections of ${name} were taken up, which ${why}`),
  ];
}

function differences(reference: readonly string[], seen: readonly string[]): string[] {
  const length = Math.max(reference.length, seen.length);
  return Array.from({ length }, (_, index) => [reference[index], seen[index]] as const).flatMap(
    ([want, saw]) => (want === saw ? [] : [`saw ${saw ?? 'nothing'}, iptables ${want ?? 'nothing'}`]),
  );
}
