import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Acceleration } from '../../src/policy/policy.ts';
import type { FaultBed } from '../faults/bed.ts';

const LINE = /^ *shunt\.dev\/acceleration:.*\n/m;

/** Writes `shunt.dev/acceleration` into every pod's manifest, and waits until the agent has taken it. */
export async function annotate(bed: FaultBed, acceleration: Acceleration): Promise<void> {
  const folder = bed.lab.manifests;
  for (const file of readdirSync(folder)) {
    const path = join(folder, file);
    const text = readFileSync(path, 'utf8').replace(LINE, '');
    writeFileSync(
      path,
      text.replace(/^( *)shunt\.dev\/netns:/m, `$1shunt.dev/acceleration: ${acceleration}\n$&`),
    );
  }
  await bed.settled(
    (_, pods) => pods.length > 0 && pods.every(({ held }) => held?.acceleration === acceleration),
  );
}
