import { ShuntError } from '../../errors.ts';
import { until } from '../../lab/deadline.ts';
import { endpoint } from '../../lab/endpoint.ts';
import { APP_PORT } from '../../lab/host.ts';
import { bytesSince, type InterfaceBytes } from '../../lab/interfaces.ts';
import type { Bed } from './bed.ts';
import { describe, faultsOf } from './connection_row.ts';
import { followPath, markLogs } from './path.ts';
import { blankRow, judged, type Row } from './row.ts';

const REQUESTS = 2_000;
const REQUEST_BYTES = 1024;
const PAYLOAD_BYTES = 2 * REQUESTS * REQUEST_BYTES;
/** Part of the payload that may still cross eth0 when the two sidecars are joined in the socket layer. */
const ACCELERATED_SHARE = 0.1;
/** The agent looks at connections a few times a second, and waits until they have proved to be request and response: half a second, or more where the machine has other work. */
const PROMOTION_MS = 30_000;

/** One connection with many requests: what of it crosses the interfaces. */
export async function* longLived(bed: Bed): AsyncGenerator<Row> {
  const target = { host: bed.b.address(4), port: APP_PORT };
  const row = blankRow('long-lived', 'app of pod-a', endpoint(target.host, target.port), '');
  const acceleration = (await bed.agent?.client.status())?.acceleration;
  const client = await bed.a.client();
  const marks = markLogs(bed);
  await using connection = await client.connect(target);
  const who = await connection.who();
  const measure = async (): Promise<InterfaceBytes> => {
    const before = bed.a.bytes();
    await connection.exchange(REQUESTS, REQUEST_BYTES);
    return bytesSince(before, bed.a.bytes());
  };
  const crossed = acceleration?.enabled === true ? await accelerated(measure, bed.signal) : await measure();
  await connection.close();

  const hops = await followPath(bed, marks, connection.local, who);
  const seen = { local: connection.local, remote: connection.remote, who, sentBytes: PAYLOAD_BYTES };
  describe(row, seen, hops);
  row.bytes = { sent: PAYLOAD_BYTES, ...crossed };
  row.failures = faultsOf(seen, hops, {
    target: row.to,
    ownAddress: bed.a.address(4),
    server: bed.b.name,
    hops: ['a outbound', 'b inbound'],
  });
  if (acceleration?.enabled === true) {
    row.explanation = 'accelerated: what the sidecars say to each other no longer enters the TCP/IP stack';
    if (!isAccelerated(crossed)) row.failures.push('it was not accelerated');
  } else {
    const why = bed.backend === 'iptables' ? 'iptables' : acceleration?.reason;
    row.explanation = `not accelerated (${why}): every byte crosses the interfaces`;
  }
  yield judged(row);
}

function isAccelerated({ eth0 }: InterfaceBytes): boolean {
  return eth0 < PAYLOAD_BYTES * ACCELERATED_SHARE;
}

/** The first measurement that shows acceleration, or the last one that does not. */
async function accelerated(
  measure: () => Promise<InterfaceBytes>,
  signal?: AbortSignal,
): Promise<InterfaceBytes> {
  let last = await measure();
  try {
    await until(
      async () => {
        last = await measure();
        return isAccelerated(last) ? true : undefined;
      },
      { what: 'acceleration', timeoutMs: PROMOTION_MS, signal },
    );
  } catch (error) {
    if (!(error instanceof ShuntError)) throw error;
  }
  return last;
}
