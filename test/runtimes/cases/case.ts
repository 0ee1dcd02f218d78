import type { Bed } from '../bed.ts';
import type { Stage } from '../stage.ts';

/** Why connections of a program stay with TCP, though its pod has opted in for them. */
export const LEFT = {
  blocks: 'blocks',
  edge: 'is polled edge-triggered',
  hangup: 'is polled for the end of what its peer sends',
  brief: 'ends soon',
} as const;

export interface RuntimeCase {
  name: string;
  /** What is used of it, for the table. */
  what: string;
  /** It is on every machine that `npm test` runs on. */
  everywhere: boolean;
  /** Programs of PATH that it needs, and the Debian package of each. */
  needs: Readonly<Record<string, string>>;
  /** Programs, by the beginning of their name, some of whose connections are taken up under `full`. */
  taken: readonly string[];
  /** Programs none of whose connections is taken up, and why. */
  left: Readonly<Record<string, (typeof LEFT)[keyof typeof LEFT]>>;
  /** Done once, for all contenders. @throws Unavailable */
  prepare?(bed: Bed): Promise<void>;
  /** Bounded; what it sees goes to the stage. */
  play(stage: Stage): Promise<void>;
}
