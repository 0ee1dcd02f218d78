import type { Host, Pod } from '../../lab/host.ts';
import type { Lab } from '../../lab/lab.ts';
import type { AgentProcess } from './agent_process.ts';

/** Two pods and a host outside, captured one way or the other: what a scenario runs on. */
export interface Bed {
  lab: Lab;
  a: Pod;
  b: Pod;
  outside: Host;
  /** How the pods are captured: by Shunt's programs, or by rules of iptables. */
  backend: 'ebpf' | 'iptables';
  /** The agent; null with the oracle, where the rules are Istio's own. */
  agent: AgentProcess | null;
  signal?: AbortSignal | undefined;
}

export type HostName = 'a' | 'b' | 'outside';

export function hostOfBed(bed: Bed, name: HostName): Host {
  return bed[name];
}

/** Pod names as the table shows them. */
export function label(name: HostName): string {
  return name === 'outside' ? 'outside' : `pod-${name}`;
}
