/** Events of the kernel in words. */
import type { RingBuffer } from 'libbpf-ts';
import { formatAddress } from '../../policy/address.ts';
import type { DatapathEvent } from '../interface.ts';
import type { Event, EventKind } from './gen/objects.ts';

const KINDS: Record<EventKind, string> = {
  EVENT_IMPERSONATION: 'impersonation',
  EVENT_INBOUND_REFUSED: 'inbound-refused',
  EVENT_STORAGE_FAILED: 'storage-failed',
  EVENT_PAIR_LOST: 'pair-lost',
  EVENT_LISTENER_LOST: 'listener-lost',
};

export async function* readEvents(
  ring: RingBuffer<Event>,
  signal: AbortSignal,
): AsyncIterable<DatapathEvent> {
  for await (const event of ring.events({ signal })) yield inWords(event);
}

function inWords(event: Event): DatapathEvent {
  const address = formatAddress(event.dst.addr.bytes);
  return {
    kind: KINDS[event.kind] ?? String(event.kind),
    netns: event.netns,
    uid: event.uid,
    gid: event.gid,
    pid: event.pid,
    comm: event.comm,
    destination: address.includes(':') ? `[${address}]:${event.dst.port}` : `${address}:${event.dst.port}`,
  };
}
