import { agentKilled } from './agent_events.ts';
import type { Bed } from './bed.ts';
import { longLived } from './long_lived.ts';
import type { Row } from './row.ts';
import { sidecarStopped } from './sidecar_events.ts';

/** A thing that happens while connections are open, and what has to stay true. */
export interface EventScenario {
  name: string;
  /** Needs an agent: nothing to compare with iptables. */
  shuntOnly: boolean;
  run(bed: Bed): AsyncIterable<Row>;
}

export const EVENTS: readonly EventScenario[] = [
  { name: 'long-lived connection', shuntOnly: false, run: longLived },
  { name: 'sidecar stopped', shuntOnly: false, run: sidecarStopped },
  { name: 'agent killed', shuntOnly: true, run: agentKilled },
];
