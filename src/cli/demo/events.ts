import { agentKilled } from './agent_events.ts';
import type { Bed } from './bed.ts';
import { longLived } from './long_lived.ts';
import type { Row } from './row.ts';
import { sidecarStopped } from './sidecar_events.ts';

/** A thing that happens while connections are open, and what has to stay true. */
export interface EventScenario {
  name: string;
  /** There is nothing like it under the oracle. */
  needsAgent: boolean;
  run(bed: Bed): AsyncIterable<Row>;
}

export const EVENTS: readonly EventScenario[] = [
  { name: 'long-lived connection', needsAgent: false, run: longLived },
  { name: 'sidecar stopped', needsAgent: false, run: sidecarStopped },
  { name: 'agent killed', needsAgent: true, run: agentKilled },
];
