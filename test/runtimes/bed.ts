/** Four pairs of pods of one node, each redirected in its own way, with real sidecars; one agent for all. */
import { copyFileSync, cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { reachable } from '../../src/lab/checkout.ts';
import type { Pod } from '../../src/lab/host.ts';
import type { PodOptions } from '../../src/lab/lab.ts';
import type { SidecarKind } from '../../src/lab/sidecar.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';
import { FaultBed } from '../faults/bed.ts';

/** What the others are held against comes first. */
export const CONTENDERS = ['iptables', 'plain', 'accelerated', 'full'] as const;
export type Contender = (typeof CONTENDERS)[number];

const ANNOTATIONS: Record<Contender, Record<string, string>> = {
  iptables: { 'shunt.dev/backend': 'iptables' },
  plain: { 'shunt.dev/acceleration': 'off' },
  accelerated: {},
  full: { 'shunt.dev/acceleration': 'full' },
};

/** Short enough for the name of the bridge's port to it. */
function podName(contender: Contender, end: 'client' | 'server'): string {
  return `${contender.slice(0, 8)}${end === 'client' ? 1 : 2}`;
}

/** Messages and bytes that were redirected from socket to socket. */
export interface Carried {
  messages: bigint;
  bytes: bigint;
}

export class Bed implements AsyncDisposable {
  readonly sidecar: SidecarKind;
  readonly faults: FaultBed;
  /** Folder of programs and scripts that the applications' uid may run. */
  readonly programs: string;
  /** Path of Node there. */
  readonly node: string;

  private constructor(sidecar: SidecarKind, faults: FaultBed) {
    this.sidecar = sidecar;
    this.faults = faults;
    this.programs = faults.lab.programs;
    mkdirSync(this.programs, { recursive: true, mode: 0o755 });
    this.node = reachable(process.execPath, this.programs);
    const peers = join(import.meta.dirname, 'peer');
    for (const name of ['stream', 'http']) {
      copyFileSync(join(peers, `${name}.ts`), join(this.programs, `${name}.mts`));
    }
    for (const name of ['pattern.py', 'streams.py', 'sockets.py', 'calls.py', 'Peer.java']) {
      copyFileSync(join(peers, name), join(this.programs, name));
    }
    cpSync(join(peers, 'go'), join(this.programs, 'go'), { recursive: true });
  }

  /** Envoy where it is, else HAProxy. */
  static async open(name: string, sidecar: SidecarKind): Promise<Bed> {
    const pods = CONTENDERS.flatMap((contender): PodOptions[] =>
      (['client', 'server'] as const).map((end) => ({
        name: podName(contender, end),
        capture: 'shunt',
        annotations: ANNOTATIONS[contender],
      })),
    );
    const faults = await FaultBed.open(name, { sidecar, pods });
    try {
      await faults.start('--backend', 'ebpf');
      await faults.settled(
        ({ enrolledBy }) => enrolledBy.iptables === 2 && enrolledBy.ebpf === pods.length - 2,
      );
      return new Bed(sidecar, faults);
    } catch (error) {
      await faults[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Why nothing is accelerated here; null where it is. */
  async hindrance(): Promise<string | null> {
    const { acceleration } = await this.faults.client.status();
    return acceleration.enabled ? null : acceleration.reason;
  }

  pod(contender: Contender, end: 'client' | 'server'): Pod {
    return this.faults.lab.pod(podName(contender, end));
  }

  /** What both pods of a pair had redirected so far. */
  async carried(contender: Contender): Promise<Carried> {
    const names = new Set((['client', 'server'] as const).map((end) => `pod-${podName(contender, end)}`));
    const sum: Carried = { messages: 0n, bytes: 0n };
    for (const { name, held } of await this.faults.client.pods()) {
      if (!names.has(name)) continue;
      sum.messages += held?.counters.acceleratedMessages ?? 0n;
      sum.bytes += held?.counters.acceleratedBytes ?? 0n;
    }
    return sum;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.faults[Symbol.asyncDispose]();
  }
}

/** The kind of sidecar that is here: Envoy, which the meshes have, or HAProxy. */
export function sidecarHere(): SidecarKind {
  try {
    SIDECARS.envoy.locate();
    return 'envoy';
  } catch {
    return 'haproxy';
  }
}
