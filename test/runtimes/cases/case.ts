import type { Bed } from '../bed.ts';
import type { Stage } from '../stage.ts';

/** What becomes of the application's own connections where the pod has opted in for them. */
export type Applications = 'redirected' | { left: string };

export interface RuntimeCase {
  name: string;
  /** What is used of it, for the table. */
  what: string;
  /** It is on every machine that `npm test` runs on. */
  everywhere: boolean;
  /** Programs of PATH that it needs, and the Debian package of each. */
  needs: Readonly<Record<string, string>>;
  /** Under `full`; an `unfit` application must not ask for it. */
  applications: Applications | { unfit: string };
  /** Done once, for all contenders. @throws Unavailable */
  prepare?(bed: Bed): Promise<void>;
  /** Bounded; what it sees goes to the stage. */
  play(stage: Stage): Promise<void>;
}
