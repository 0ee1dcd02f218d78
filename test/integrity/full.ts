import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FaultBed } from '../faults/bed.ts';

/** Writes `shunt.dev/acceleration: full` into both pods' manifests, and waits until the agent has taken it. */
export async function optIn(bed: FaultBed): Promise<void> {
  const folder = bed.lab.manifests;
  for (const file of readdirSync(folder)) {
    const path = join(folder, file);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(/^( *)shunt\.dev\/netns:/m, '$1shunt.dev/acceleration: full\n$&'));
  }
  await bed.settled((_, pods) => pods.length > 0 && pods.every(({ held }) => held?.acceleration === 'full'));
}
