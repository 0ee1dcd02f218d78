import { ClientError, type Connection, type Who } from '../../lab/client.ts';
import { endpoint, hostOf, unmapped } from '../../lab/endpoint.ts';
import { bytesSince } from '../../lab/interfaces.ts';
import { PASSTHROUGH } from '../../lab/istio.ts';
import { type Bed, hostOfBed, label } from './bed.ts';
import { curlWho } from './curl.ts';
import { followPath, type Hop, hopName, markLogs } from './path.ts';
import { blankRow, judged, type Row } from './row.ts';
import { type ConnectionScenario, explanationOf, hopsOf } from './scenarios.ts';

/** Each connection carries this much each way. */
const REQUESTS = 4;
const REQUEST_BYTES = 1024;

/** The client's two socket names and the server's view of one connection. */
export interface Seen {
  local: string;
  remote: string;
  who: Who;
  sentBytes: number;
}

/** Makes the connection, follows it, and holds it against the scenario. */
export async function connectionRow(bed: Bed, scenario: ConnectionScenario): Promise<Row> {
  const { from, to } = scenario;
  const explanation = explanationOf(scenario, bed.backend);
  const client = hostOfBed(bed, from.host);
  const server = to.host === 'localhost' ? client : hostOfBed(bed, to.host);
  if (to.family === 6 && server.netns.ip6 === null) {
    const row = blankRow(scenario.name, label(from.host), 'IPv6', explanation);
    return { ...row, result: 'skipped', explanation: 'this kernel has no IPv6' };
  }
  const address = to.host === 'localhost' ? '127.0.0.1' : server.address(to.family);
  const host = to.mapped === true ? `::ffff:${address}` : address;
  const target = endpoint(host, to.port);
  const row = blankRow(scenario.name, `${from.role} of ${label(from.host)}`, target, explanation);

  const meter = from.host === 'outside' ? server : client;
  const counter = bed.backend === 'ebpf' ? scenario.counts : undefined;
  const countBefore = counter === undefined ? 0n : await bed.agent?.counter(from.host, counter);
  const before = meter.bytes();
  const marks = markLogs(bed);
  try {
    const seen =
      scenario.curl === true
        ? await curlWho(client, { host, port: to.port })
        : await talk(bed, scenario, host);
    const hops = await followPath(bed, marks, seen.local, seen.who);
    describe(row, seen, hops);
    row.bytes = { sent: seen.sentBytes, ...bytesSince(before, meter.bytes()) };
    row.failures = faultsOf(seen, hops, {
      target,
      ownAddress: to.host === 'localhost' ? address : client.address(to.family),
      server: server.name,
      hops: hopsOf(scenario, bed.backend),
    });
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    row.failures = [`the client got ${error.message}`];
  }
  if (counter !== undefined && bed.agent !== null) {
    const count = await bed.agent.counter(from.host, counter);
    if (count <= (countBefore ?? 0n)) row.failures.push(`the counter ${counter} did not rise`);
  }
  return judged(row);
}

async function talk(bed: Bed, { from, to }: ConnectionScenario, host: string): Promise<Seen> {
  const client = await hostOfBed(bed, from.host).client(from.role);
  await using connection: Connection = await client.connect({ host, port: to.port });
  const who = await connection.who();
  await connection.exchange(REQUESTS, REQUEST_BYTES);
  await connection.close();
  const { local, remote } = connection;
  return { local, remote, who, sentBytes: 2 * REQUESTS * REQUEST_BYTES };
}

/** Fills in what the table shows. */
export function describe(row: Row, seen: Seen, hops: readonly Hop[]): void {
  row.acceptedBy = [...hops.map(({ pod }) => `sidecar-${pod}`), appName(seen.who.name)];
  row.originalDst = hops.map(({ record }) => record.originalDst);
  row.peername = seen.remote;
}

function appName(server: string): string {
  return server === 'outside' ? 'outside' : `app-${server}`;
}

interface Expected {
  target: string;
  /** What getsockname has to say: redirection must not show. */
  ownAddress: string;
  server: string;
  hops: readonly string[];
}

/** What differs, one sentence each. */
export function faultsOf(seen: Seen, hops: readonly Hop[], expected: Expected): string[] {
  const faults: string[] = [];
  const taken = hops.map(hopName);
  if (taken.join(', ') !== expected.hops.join(', ')) {
    faults.push(`it went ${pathWords(taken)} and not ${pathWords(expected.hops)}`);
  }
  if (seen.remote !== expected.target) faults.push(`getpeername said ${seen.remote}`);
  if (unmapped(seen.local).replace(/:\d+$/, '') !== endpoint(expected.ownAddress, 0).replace(/:\d+$/, '')) {
    faults.push(`getsockname said ${seen.local}, not an address of ${expected.ownAddress}`);
  }
  for (const { pod, record } of hops) {
    if (record.originalDst !== unmapped(expected.target)) {
      faults.push(`sidecar-${pod} restored ${record.originalDst}`);
    }
  }
  if (seen.who.name !== expected.server) faults.push(`${seen.who.name} answered`);
  const last = hops.at(-1);
  const peer = hostOf(unmapped(seen.who.peer));
  if (last?.direction === 'inbound' && peer !== PASSTHROUGH.ip4 && peer !== PASSTHROUGH.ip6) {
    faults.push(`the app saw ${seen.who.peer}, not the passthrough source`);
  }
  return faults;
}

function pathWords(hops: readonly string[]): string {
  return hops.length === 0 ? 'directly' : `through ${hops.join(', ')}`;
}
