import { readFileSync } from 'node:fs';

/** Bytes that an interface sent, headers included. On lo what is sent is received: one count tells all. */
export interface InterfaceBytes {
  lo: number;
  /** Sent and received. */
  eth0: number;
}

/**
 * What crossed the interfaces of a namespace so far. A message that stays in the socket layer is in neither count.
 *
 * @param pid a process inside the network namespace
 */
export function interfaceBytes(pid: number): InterfaceBytes {
  const bytes: InterfaceBytes = { lo: 0, eth0: 0 };
  for (const line of readFileSync(`/proc/${pid}/net/dev`, 'utf8').split('\n').slice(2)) {
    const [name, counts] = line.split(':');
    const fields = counts?.trim().split(/\s+/).map(Number);
    // Columns of /proc/net/dev: received bytes first, sent bytes ninth.
    const received = fields?.[0] ?? 0;
    const sent = fields?.[8] ?? 0;
    if (name?.trim() === 'lo') bytes.lo = sent;
    if (name?.trim() === 'eth0') bytes.eth0 = received + sent;
  }
  return bytes;
}

export function bytesSince(before: InterfaceBytes, after: InterfaceBytes): InterfaceBytes {
  return { lo: after.lo - before.lo, eth0: after.eth0 - before.eth0 };
}
