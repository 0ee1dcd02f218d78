/** Peers that are compiled first. */
import { join } from 'node:path';
import { inPath } from '../../../src/lab/checkout.ts';
import { type Argv, run } from '../../../src/lab/command.ts';
import { packageRoot } from '../../../src/package_root.ts';
import type { Bed } from '../bed.ts';
import type { Stage } from '../stage.ts';
import type { RuntimeCase } from './case.ts';

/** The compiler's own cache would be root's home; this one spares the next run a minute. */
async function buildGo(bed: Bed): Promise<void> {
  const go = inPath('go') ?? 'go';
  const cache = join(packageRoot(), '.cache', 'go');
  const env = [`GOCACHE=${cache}`, 'GOPROXY=off', 'GOTOOLCHAIN=local', 'CGO_ENABLED=0'];
  const output = join(bed.programs, 'go-peer');
  await run(['env', '-C', join(bed.programs, 'go'), ...env, go, 'build', '-o', output, '.']);
}

async function buildJava(bed: Bed): Promise<void> {
  await run(['javac', '-d', join(bed.programs, 'java'), join(bed.programs, 'Peer.java')]);
}

type Compiled = Pick<RuntimeCase, 'needs' | 'prepare'>;

export const GO: Compiled = { needs: { go: 'golang-go' }, prepare: buildGo };
export const JAVA: Compiled = { needs: { javac: 'default-jdk-headless' }, prepare: buildJava };

export function goPeer(stage: Stage, ...words: string[]): Argv {
  return [join(stage.bed.programs, 'go-peer'), ...words];
}

/** Small: eight of them run at a time. */
export function javaPeer(stage: Stage, ...words: string[]): Argv {
  const options = ['-Xmx96m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto'];
  return ['java', ...options, '-cp', join(stage.bed.programs, 'java'), 'Peer', ...words];
}
