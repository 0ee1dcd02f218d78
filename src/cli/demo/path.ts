import type { AccessRecord, Direction } from '../../lab/access_log.ts';
import type { Who } from '../../lab/client.ts';
import { until } from '../../lab/deadline.ts';
import { hostOf, unmapped } from '../../lab/endpoint.ts';
import type { Bed } from './bed.ts';

/** One sidecar that a connection passed. */
export interface Hop {
  pod: 'a' | 'b';
  direction: Direction;
  record: AccessRecord;
}

const PODS = ['a', 'b'] as const;

/** Ends of the access logs now; a path is followed from there. */
export type Marks = Record<'a' | 'b', number>;

export function markLogs(bed: Bed): Marks {
  return { a: bed.a.sidecar.accessLog.records().length, b: bed.b.sidecar.accessLog.records().length };
}

/**
 * The sidecars between a client and the server that answered, found from addresses alone: a sidecar's record names
 * the peer it accepted and its own end of the next connection, and the server names the peer it saw. The path is
 * complete when the two meet, so it needs no expectation of what it should be.
 *
 * @param local getsockname(2) at the client
 * @throws SHUNT_E_LAB_TIMEOUT when the chain does not reach the server
 */
export async function followPath(bed: Bed, marks: Marks, local: string, who: Who): Promise<Hop[]> {
  const hops: Hop[] = [];
  let from = unmapped(local);
  while (from !== unmapped(who.peer)) {
    const hop = await hopFrom(bed, marks, from, who);
    hops.push(hop);
    if (hop.record.source === null) break;
    from = hop.record.source;
  }
  return hops;
}

async function hopFrom(bed: Bed, marks: Marks, from: string, who: Who): Promise<Hop> {
  try {
    return await until(() => acceptedFrom(bed, marks, from), {
      what: `a sidecar to say that it accepted ${from}, on the way to ${who.local}`,
      timeoutMs: 3_000,
      signal: bed.signal,
    });
  } catch (error) {
    const renumbered = bed.backend === 'iptables' ? acceptedFromNobody(bed, marks, from) : undefined;
    if (renumbered === undefined) throw error;
    return renumbered;
  }
}

/**
 * The hop whose peer is of that host and is the end of no other hop. Two connections of a process to different places
 * may share a source port; redirected to the same port they would be one to connection tracking, which therefore gives
 * the later one another source port.
 */
function acceptedFromNobody(bed: Bed, marks: Marks, peer: string): Hop | undefined {
  const hops = PODS.flatMap((pod) =>
    bed[pod].sidecar.accessLog
      .since(marks[pod])
      .map((record): Hop => ({ pod, direction: record.direction, record })),
  );
  const ends = new Set(hops.map(({ record }) => record.source));
  const heads = hops.filter(({ record }) => hostOf(record.peer) === hostOf(peer) && !ends.has(record.peer));
  return heads.length === 1 ? heads[0] : undefined;
}

function acceptedFrom(bed: Bed, marks: Marks, peer: string): Hop | undefined {
  for (const pod of PODS) {
    const record = bed[pod].sidecar.accessLog.since(marks[pod]).find((found) => found.peer === peer);
    if (record !== undefined) return { pod, direction: record.direction, record };
  }
  return undefined;
}

/** `sidecar-a outbound`: the words that scenarios use. */
export function hopName({ pod, direction }: Pick<Hop, 'pod' | 'direction'>): string {
  return `${pod} ${direction}`;
}
