/**
 * The sidecar's listeners as inbound steering sees them. The sockops program captures one when it starts to listen;
 * those that listened before the pod was enrolled are put in here.
 */
import { BpfError, type BpfMap, type SkStorageMap, type SockMap } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { dupListeners, type HeldListener } from '../../pod/listeners.ts';
import { listeningSockets } from '../../pod/socket_table.ts';
import { socketCookie } from '../../pod/syscall.ts';
import type { Workload } from '../../pod/workload.ts';
import type { ListenerKey, ListenerRole, ListeningAt, TargetKey } from './gen/objects.ts';
import { addr } from './pod_value.ts';

const AF_INET = 2;
const AF_INET6 = 10;
/** SHUNT_LISTENER_SLOTS of bpf/layout.h. */
const SLOTS = 16;

export interface ListenerMaps {
  listeners: SockMap<ListenerKey>;
  roles: SkStorageMap<ListenerRole>;
  targets: BpfMap<TargetKey, ListeningAt>;
}

export class ListenerSlots {
  readonly #maps: ListenerMaps;

  constructor(maps: ListenerMaps) {
    this.#maps = maps;
  }

  /**
   * Captures the listeners that are there now. Sockets on the outbound port are marked as the sidecar's, and tell at
   * which address it takes outbound connections: Linkerd's and Consul's on localhost alone.
   *
   * @returns how many sockets were newly captured
   * @throws SHUNT_E_LISTENER_TAKE, SHUNT_E_LISTENER_MPTCP
   */
  capture(workload: Workload): number {
    const { netns, sidecarCgroup, policy } = workload;
    const { inbound, outbound } = policy.ports;
    // A pod that starts has none yet: one look tells.
    if (!listeningSockets(netns.path).some(({ port }) => port === inbound || port === outbound)) return 0;
    const wanted = { netns, cgroup: sidecarCgroup, uids: policy.identity.proxyUids };
    using duplicates = new DisposableStack();
    // All of them at once: one left open when another fails would go on listening for a sidecar that is gone.
    const take = (port: number): HeldListener[] =>
      dupListeners({ ...wanted, port }).map((listener) => duplicates.use(listener));
    for (const held of take(outbound)) {
      this.#maps.roles.set(held.fd, { netns: netns.cookie, port: held.port, pad: 0 });
      this.#learnTarget(netns.cookie, held.address);
    }
    let captured = 0;
    for (const held of take(inbound)) {
      if (held.multipath)
        throw new ShuntError('SHUNT_E_LISTENER_MPTCP', undefined, { target: `port ${held.port}` });
      this.#maps.roles.set(held.fd, { netns: netns.cookie, port: held.port, pad: 0 });
      if (this.#put(netns.cookie, held.family === 4 ? AF_INET : AF_INET6, held.fd)) captured++;
    }
    return captured;
  }

  /** The port on which the sidecar takes inbound connections with MPTCP, or null. */
  multipathPort({ netns, policy }: Workload): number | null {
    const { inbound } = policy.ports;
    const own = policy.identity.proxyUids;
    const found = listeningSockets(netns.path, inbound).some(
      ({ multipath, uid }) => multipath && (own.length === 0 || own.includes(uid)),
    );
    return found ? inbound : null;
  }

  /** Whether a listener is held for a pod, found without a look at every slot. */
  holdsAny(cookie: bigint): boolean {
    for (const key of slotKeys(cookie)) if (this.#maps.listeners.has(key)) return true;
    return false;
  }

  /** Listeners held for a pod. */
  count(cookie: bigint): { ip4: number; ip6: number } {
    return { ip4: this.#countFamily(cookie, AF_INET), ip6: this.#countFamily(cookie, AF_INET6) };
  }

  release(cookie: bigint): void {
    for (const key of slotKeys(cookie)) this.#maps.listeners.delete(key);
    for (const family of [AF_INET, AF_INET6]) this.#maps.targets.delete({ netns: cookie, family, pad: 0 });
  }

  /** As learn_target() of bpf/sockops.bpf.c does when a listener starts. */
  #learnTarget(netns: bigint, address: string): void {
    const key = { netns, family: address.includes(':') ? AF_INET6 : AF_INET, pad: 0 };
    if (address === '0.0.0.0' || address === '::') this.#maps.targets.delete(key);
    else this.#maps.targets.set(key, { addr: addr(address) });
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
