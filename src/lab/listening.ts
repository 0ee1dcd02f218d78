import { readFileSync } from 'node:fs';
import { until } from './deadline.ts';
import type { LabProcess } from './process.ts';

/** State TCP_LISTEN as /proc/net/tcp writes it (include/net/tcp_states.h). */
const LISTEN = '0A';

/** Listening TCP ports of the namespace that a process lives in. */
export interface ListeningPorts {
  ip4: Set<number>;
  ip6: Set<number>;
}

/** @param pid a process inside the network namespace */
export function listeningPorts(pid: number): ListeningPorts {
  return { ip4: portsIn(`/proc/${pid}/net/tcp`), ip6: portsIn(`/proc/${pid}/net/tcp6`) };
}

function portsIn(path: string): Set<number> {
  const ports = new Set<number>();
  for (const line of readTable(path).split('\n').slice(1)) {
    const [, local, , state] = line.trim().split(/\s+/);
    const port = local?.split(':').at(-1);
    if (state === LISTEN && port !== undefined) ports.add(Number.parseInt(port, 16));
  }
  return ports;
}

/** A process that ended between two looks has no tables; a kernel without IPv6 has no tcp6. */
function readTable(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EINVAL') return '';
    throw error;
  }
}

/**
 * Waits until somebody in the process's namespace listens on every port.
 *
 * @throws SHUNT_E_LAB_PROCESS when the process ends first, SHUNT_E_LAB_TIMEOUT when it never listens
 */
export async function listening(
  process: LabProcess,
  ports: readonly number[],
  families: { ip6: boolean },
  signal?: AbortSignal,
): Promise<void> {
  await until(
    () => {
      process.assertRunning();
      const open = listeningPorts(process.pid);
      const ready = ports.every((port) => open.ip4.has(port) && (!families.ip6 || open.ip6.has(port)));
      return ready ? true : undefined;
    },
    { what: `${process.name} to listen on ${ports.join(', ')}`, timeoutMs: 20_000, signal },
  );
}
