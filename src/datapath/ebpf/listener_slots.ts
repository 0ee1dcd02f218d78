/**
 * The sidecar's listeners as inbound steering sees them. The sockops program captures one when it starts to listen;
 * those that listened before the pod was enrolled are put in here.
 */
import { BpfError, type SkStorageMap, type SockMap } from 'libbpf-ts';
import { dupListeners } from '../../pod/listeners.ts';
import { socketCookie } from '../../pod/syscall.ts';
import type { Workload } from '../../pod/workload.ts';
import type { ListenerKey, ListenerRole } from './gen/objects.ts';

const AF_INET = 2;
const AF_INET6 = 10;
/** SHUNT_LISTENER_SLOTS of bpf/layout.h. */
const SLOTS = 16;

export interface ListenerMaps {
  listeners: SockMap<ListenerKey>;
  roles: SkStorageMap<ListenerRole>;
}

export class ListenerSlots {
  readonly #maps: ListenerMaps;

  constructor(maps: ListenerMaps) {
    this.#maps = maps;
  }

  /**
   * Captures the listeners that are there now. Sockets on the outbound port are only marked as the sidecar's.
   *
   * @returns how many sockets were newly captured
   * @throws SHUNT_E_LISTENER_TAKE
   */
  capture(workload: Workload): number {
    const { netns, sidecarCgroup, policy } = workload;
    const wanted = { netns, cgroup: sidecarCgroup, uids: policy.identity.proxyUids };
    for (const listener of dupListeners({ ...wanted, port: policy.ports.outbound })) {
      using held = listener;
      this.#maps.roles.set(held.fd, { netns: netns.cookie });
    }
    let captured = 0;
    for (const listener of dupListeners({ ...wanted, port: policy.ports.inbound })) {
      using held = listener;
      this.#maps.roles.set(held.fd, { netns: netns.cookie });
      if (this.#put(netns.cookie, held.family === 4 ? AF_INET : AF_INET6, held.fd)) captured++;
    }
    return captured;
  }

  /** Listeners held for a pod. */
  count(cookie: bigint): { ip4: number; ip6: number } {
    return { ip4: this.#countFamily(cookie, AF_INET), ip6: this.#countFamily(cookie, AF_INET6) };
  }

  release(cookie: bigint): void {
    for (const key of slotKeys(cookie)) this.#maps.listeners.delete(key);
  }

  #countFamily(cookie: bigint, family: number): number {
    return [...slotKeys(cookie, [family])].filter((key) => this.#maps.listeners.has(key)).length;
  }

  /** False when the socket, or all slots, were taken already: one listener steers for its whole SO_REUSEPORT group. */
  #put(cookie: bigint, family: number, fd: number): boolean {
    const socket = socketCookie(fd);
    const slots = [...slotKeys(cookie, [family])];
    const held = slots.map((key) => this.#maps.listeners.get(key));
    if (held.includes(socket)) return false;
    for (const [index, key] of slots.entries()) {
      if (held[index] !== undefined) continue;
      try {
        this.#maps.listeners.setFd(key, fd, 'noexist');
        return true;
      } catch (error) {
        // The program captured into this slot meanwhile.
        if (error instanceof BpfError && error.code === 'EEXIST') continue;
        throw error;
      }
    }
    return false;
  }
}

function* slotKeys(netns: bigint, families = [AF_INET, AF_INET6]): Iterable<ListenerKey> {
  for (const family of families) for (let slot = 0; slot < SLOTS; slot++) yield { netns, family, slot };
}
