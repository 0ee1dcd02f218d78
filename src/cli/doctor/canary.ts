import type { CanaryItem } from '../../datapath/interface.ts';
import { errorReport } from '../../errors.ts';
import { type Finding, ok, warn } from './finding.ts';

/** What a failed item keeps off, and what is to be done about it. */
const CONSEQUENCES: Record<CanaryItem['needed'], { off: string; fix: string }> = {
  all: {
    off: 'acceleration stays off',
    fix: 'nothing needs to be done: redirection does not depend on it. Another kernel may pass',
  },
  applications: {
    off: 'sockets of applications stay out of acceleration',
    fix: 'annotate pods whose applications do not ask for it with shunt.dev/acceleration: full, or boot another kernel',
  },
  note: {
    off: 'why messages to applications are redirected only where a pod asks for it',
    fix: 'leave shunt.dev/acceleration: full to applications that read with recv() alone',
  },
};

/** Runs the canary with the programs that are shipped; one finding for each item. */
export async function canaryFindings(): Promise<Finding[]> {
  try {
    const [{ runCanary }, { TUNING }, { builtObjects }] = await Promise.all([
      import('../../datapath/ebpf/canary.ts'),
      import('../../datapath/ebpf/accelerator.ts'),
      import('../../datapath/ebpf/compile.ts'),
    ]);
    const { items } = await runCanary(builtObjects(), TUNING);
    return items.map(({ name, needed, fault }) => {
      const { off, fix } = CONSEQUENCES[needed];
      return {
        check: `canary: ${name}`,
        ...(fault === null ? ok('as plain TCP') : warn(`${fault}: ${off}`, fix)),
      };
    });
  } catch (error) {
    const { message, fix } = errorReport(error);
    return [{ check: 'canary', ...warn(`cannot run: ${message}`, fix) }];
  }
}
