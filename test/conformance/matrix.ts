/** Runs every case of a mesh under its own rules and under ours, and compares what both ends of each saw. */
import { BACKENDS, type Backend, Bed, type Contender, type EbpfChoice } from './bed.ts';
import { type Case, casesOf, type Who } from './cases.ts';
import { compare, type FieldDifference } from './differences.ts';
import type { Family, Mesh } from './meshes.ts';
import type { Seen } from './probe.ts';

/** Connections in flight at once: those that nobody answers only wait. */
const AT_ONCE = 12;
/** Users of the pod that the rules and the programs take for the same. */
const BELIEVED: readonly Who[] = ['app', 'root', 'sidecar'];

export interface Outcome {
  backend: Backend;
  saw: Seen;
  differences: FieldDifference[];
  /** `known` when every difference is listed with its reason. */
  verdict: 'same' | 'known' | 'FAILED';
}

export interface Row {
  mesh: Mesh;
  case: Case;
  oracle: Seen;
  outcomes: Outcome[];
}

export interface Matrix {
  mesh: Mesh;
  rows: Row[];
  absent: ReadonlyMap<Backend, string>;
  /** Packets of the pod's own connections that the mesh's REDIRECT rules took although eBPF had decided; null = not run. */
  besideHits: number | null;
}

export async function runMatrix(
  mesh: Mesh,
  {
    backends,
    families,
    ...choice
  }: { backends: readonly Backend[]; families: readonly Family[] } & EbpfChoice,
): Promise<Matrix> {
  await using bed = await Bed.open(mesh, backends, 'all', choice);
  const present = BACKENDS.filter((backend) => backends.includes(backend) && !bed.absent.has(backend));
  const both = families.filter((family) => mesh.families.includes(family));
  const oracle = await runFamilies(bed, 'oracle', both);
  const seen = new Map<Backend, [Case, Seen][]>();
  let hits: number | null = null;
  for (const backend of present) {
    if (backend === 'withdrawn') await bed.withdrawBeside();
    if (backend === 'beside') hits = await hitsOfPod(bed, both);
    seen.set(backend, await runFamilies(bed, backend, both));
  }
  const rows = oracle.map(([tried, expected], index) => {
    const outcomes = present.map((backend) => {
      const saw = seen.get(backend)?.[index]?.[1];
      if (saw === undefined) throw new Error(`${backend} did not run "${tried.to}"`);
      return outcomeOf(mesh, backend, tried, { oracle: expected, asApp: asApp(tried, oracle), saw });
    });
    return { mesh, case: tried, oracle: expected, outcomes };
  });
  return { mesh, rows, absent: bed.absent, besideHits: hits };
}

/**
 * What the mesh's REDIRECT rules still take of connections that the pod itself opens. Not counted: an impersonator's own
 * calls to the pod, which eBPF passes as an application's and the rules take by its user.
 */
async function hitsOfPod(bed: Bed, families: readonly Family[]): Promise<number> {
  const before = await bed.ruleHits('beside');
  for (const family of families) await runCases(bed, 'beside', family, ({ who }) => BELIEVED.includes(who));
  return (await bed.ruleHits('beside')) - before;
}

async function runFamilies(
  bed: Bed,
  contender: Contender,
  families: readonly Family[],
): Promise<[Case, Seen][]> {
  const results: [Case, Seen][] = [];
  for (const family of families) results.push(...(await runCases(bed, contender, family)));
  return results;
}

async function runCases(
  bed: Bed,
  contender: Contender,
  family: Family,
  wanted: (tried: Case) => boolean = () => true,
): Promise<[Case, Seen][]> {
  const pod = bed.address(contender, family);
  const hosts = { pod, outside: bed.address('outside', family) };
  const cases = casesOf(bed.mesh, family, hosts).filter(wanted);
  const results: [Case, Seen][] = [];
  const queue = [...cases.entries()];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [index, tried] = next;
      results[index] = [tried, await tryOn(bed, contender, tried, pod)];
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
}

/**
 * Two connections from one port to two ports that REDIRECT makes one would be the same to connection tracking, which then
 * gives the later one another source port (nf_nat_core.c, get_unique_tuple). That is chance, and so tried again.
 */
async function tryOn(bed: Bed, contender: Contender, tried: Case, pod: string): Promise<Seen> {
  for (let left = 5; ; left--) {
    const saw = normalised(await bed.try(contender, tried), pod);
    if (left === 0 || saw.acceptedFrom === null || saw.acceptedFrom.endsWith(':client')) return saw;
  }
}

/** The pod's address becomes `pod`, and the client's own port `client`, so that two pods can be compared. */
function normalised(saw: Seen, pod: string): Seen {
  const port = /:(\d+)$/.exec(saw.local ?? '')?.[1];
  const plain = (text: string | null): string | null => {
    if (text === null) return null;
    const named = text
      .replace(`[${pod}]`, 'pod')
      .replace(`[::ffff:${pod}]`, 'pod-mapped')
      .replace(new RegExp(`^${pod.replaceAll('.', '\\.')}:`), 'pod:');
    return port !== undefined && named.endsWith(`:${port}`) ? named.replace(/\d+$/, 'client') : named;
  };
  return {
    landing: saw.landing,
    local: plain(saw.local),
    peer: plain(saw.peer),
    original: plain(saw.original),
    acceptedOn: plain(saw.acceptedOn),
    acceptedFrom: plain(saw.acceptedFrom),
  };
}

/** What the oracle does for the application in the same place. */
function asApp({ source, to, family }: Case, oracle: readonly [Case, Seen][]): Seen | null {
  const found = oracle.find(
    ([other]) => other.who === 'app' && other.source === source && other.to === to && other.family === family,
  );
  return found?.[1] ?? null;
}

function outcomeOf(
  mesh: Mesh,
  backend: Backend,
  tried: Case,
  views: { oracle: Seen; asApp: Seen | null; saw: Seen },
): Outcome {
  const differences = compare(mesh, backend, tried, views);
  return { backend, saw: views.saw, differences, verdict: verdictOf(differences) };
}

function verdictOf(differences: readonly FieldDifference[]): Outcome['verdict'] {
  if (differences.length === 0) return 'same';
  return differences.some(({ known }) => known === null) ? 'FAILED' : 'known';
}
