import { ClientError } from '../../lab/client.ts';
import { endpoint } from '../../lab/endpoint.ts';
import { APP_PORT, type Host } from '../../lab/host.ts';
import type { Bed } from './bed.ts';
import { connectionRow } from './connection_row.ts';
import { blankRow, judged, type Row } from './row.ts';
import { CONNECTIONS, type ConnectionScenario } from './scenarios.ts';

/** No sidecar: refused, both ways and both families. Then it comes back, and nobody has to do anything. */
export async function* sidecarStopped(bed: Bed): AsyncGenerator<Row> {
  await bed.a.sidecar.stop();
  yield await refusedRow(
    'sidecar stopped, out',
    bed.a,
    bed.outside,
    'nothing to go through: refused, not let out',
  );
  yield await refusedRow(
    'sidecar stopped, in',
    bed.outside,
    bed.a,
    'the app listens, and is not reached past its sidecar',
  );
  bed.signal?.throwIfAborted();
  await bed.a.sidecar.start(bed.signal);
  const found = 'the new sidecar is found by itself';
  yield await againRow(bed, 'outbound', 'sidecar back, out', found);
  yield await againRow(bed, 'inbound', 'sidecar back, in', found);
}

/** A connection scenario once more, under another name. */
export async function againRow(bed: Bed, name: string, scenario: string, explanation: string): Promise<Row> {
  const row = await connectionRow(bed, named(name));
  return { ...row, scenario, explanation };
}

async function refusedRow(scenario: string, from: Host, to: Host, explanation: string): Promise<Row> {
  const families = to.netns.ip6 === null ? ([4] as const) : ([4, 6] as const);
  const row = blankRow(scenario, `app of ${from.name}`, endpoint(to.address(4), APP_PORT), explanation);
  const client = await from.client();
  const answers = new Set<string>();
  for (const family of families) {
    try {
      await using connection = await client.connect({ host: to.address(family), port: APP_PORT });
      const { name } = await connection.who();
      answers.add(name);
      row.failures.push(`${name} answered over IPv${family}`);
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      answers.add(error.message);
      if (error.message !== 'ECONNREFUSED')
        row.failures.push(`over IPv${family} the client got ${error.message}`);
    }
  }
  row.acceptedBy = [...answers];
  return judged(row);
}

function named(name: string): ConnectionScenario {
  const scenario = CONNECTIONS.find((candidate) => candidate.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario;
}
