/** Runs every case of a mesh under its own rules and under ours, and compares what both ends of each saw. */
import { type Backend, Bed, type Contender } from './bed.ts';
import { type Case, casesOf } from './cases.ts';
import { compare, type FieldDifference } from './differences.ts';
import type { Family, Mesh } from './meshes.ts';
import type { Seen } from './probe.ts';

/** Connections in flight at once: those that nobody answers only wait. */
const AT_ONCE = 12;

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
}

export async function runMatrix(
  mesh: Mesh,
  { backends, families }: { backends: readonly Backend[]; families: readonly Family[] },
): Promise<Matrix> {
  await using bed = await Bed.open(mesh, backends);
  const present = backends.filter((backend) => !bed.absent.has(backend));
  const rows: Row[] = [];
  for (const family of families.filter((family) => mesh.families.includes(family))) {
    const oracle = await runCases(bed, 'oracle', family);
    const seen = new Map<Backend, Seen[]>();
    for (const backend of present)
      seen.set(
        backend,
        (await runCases(bed, backend, family)).map(([, saw]) => saw),
      );
    for (const [index, [tried, expected]] of oracle.entries()) {
      const outcomes = present.map((backend) => {
        const saw = seen.get(backend)?.[index];
        if (saw === undefined) throw new Error(`${backend} did not run "${tried.to}"`);
        return outcomeOf(mesh, backend, tried, expected, saw);
      });
      rows.push({ mesh, case: tried, oracle: expected, outcomes });
    }
  }
  return { mesh, rows, absent: bed.absent };
}

async function runCases(bed: Bed, contender: Contender, family: Family): Promise<[Case, Seen][]> {
  const pod = bed.address(contender, family);
  const cases = casesOf(bed.mesh, family, { pod, outside: bed.address('outside', family) });
  const results: [Case, Seen][] = [];
  const queue = [...cases.entries()];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [index, tried] = next;
      results[index] = [tried, normalised(await bed.try(contender, tried), pod)];
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
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

function outcomeOf(mesh: Mesh, backend: Backend, tried: Case, oracle: Seen, saw: Seen): Outcome {
  const differences = compare(mesh, backend, tried, oracle, saw);
  const unknown = differences.some(({ known }) => known === null);
  const verdict = differences.length === 0 ? 'same' : unknown ? 'FAILED' : 'known';
  return { backend, saw, differences, verdict };
}
