/** What is made outside this process is taken down also when the process ends before it gets to that. */

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const NAMES = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[];
const sweeps = new Set<() => void>();
/** How many of them want a signal to end the process. One listener serves all: Node warns of eleven. */
let exiting = 0;

/**
 * Has `sweep` run at any exit of the process that comes before the result is disposed of; SIGKILL alone is beyond it.
 *
 * @param sweep synchronous, and right also when there is nothing left to take down; the last one given runs first
 * @param exitOnSignals whether SIGHUP, SIGINT and SIGTERM are such exits; false where the caller handles them
 */
export function atExit(sweep: () => void, exitOnSignals: boolean): Disposable {
  // A set holds a function once: the same one may be given twice.
  const own = (): void => sweep();
  if (sweeps.size === 0) process.once('exit', sweepAll);
  sweeps.add(own);
  if (exitOnSignals && exiting++ === 0) for (const name of NAMES) process.once(name, exit);
  return {
    [Symbol.dispose]() {
      if (!sweeps.delete(own)) return;
      if (exitOnSignals && --exiting === 0) for (const name of NAMES) process.off(name, exit);
      if (sweeps.size === 0) process.off('exit', sweepAll);
    },
  };
}

function sweepAll(): void {
  for (const sweep of [...sweeps].reverse()) {
    try {
      sweep();
    } catch (error) {
      // The others still have theirs to take down.
      process.stderr.write(`taking down: ${String(error)}\n`);
      process.exitCode ||= 1;
    }
  }
}

function exit(name: NodeJS.Signals): void {
  process.exit(128 + SIGNALS[name as keyof typeof SIGNALS]);
}
