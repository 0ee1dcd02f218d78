/** Which addresses are whose: of each pod those of its network namespace, and of the node those of its pods. */
import type { BpfMap } from 'libbpf-ts';
import { PASSTHROUGH_6, wantsPassthrough } from '../../pod/passthrough_address.ts';
import type { Workload } from '../../pod/workload.ts';
import { formatAddress } from '../../policy/address.ts';
import type { AddrKey } from './gen/objects.ts';
import { addr } from './pod_value.ts';

/** Stands for a network namespace in the keys of the node's table. */
const NODE_NETNS = 0n;

export class AddressTable {
  readonly #map: BpfMap<AddrKey, bigint>;

  /** @param map of address to the cookie of the namespace that has it */
  constructor(map: BpfMap<AddrKey, bigint>) {
    this.#map = map;
  }

  /**
   * Makes the pod's entries those that it is to have.
   *
   * @throws BpfError when the map is full
   */
  write(workload: Workload): void {
    const { cookie } = workload.netns;
    const wanted = keysOf(workload);
    this.#map.setMany(wanted.map((key) => [key, cookie] as const));
    const names = new Set(wanted.map(keyText));
    this.#map.deleteMany(this.#keysOf(cookie).filter((key) => !names.has(keyText(key))));
  }

  lacks(workload: Workload): boolean {
    return keysOf(workload).some((key) => !this.#map.has(key));
  }

  release(cookie: bigint): void {
    this.#map.deleteMany(this.#keysOf(cookie));
  }

  /** Cookies of the namespaces that have an entry, each as often as it has. */
  owners(): bigint[] {
    return [...this.#map].map(([, owner]) => owner);
  }

  #keysOf(cookie: bigint): AddrKey[] {
    return [...this.#map].filter(([, owner]) => owner === cookie).map(([key]) => key);
  }
}

function keysOf(workload: Workload): AddrKey[] {
  const addresses = new Set(workload.netns.addresses);
  // Just added, and so newer than what the workload knows.
  if (wantsPassthrough(workload)) addresses.add(PASSTHROUGH_6);
  const own = [...addresses].map((text) => ({ netns: workload.netns.cookie, addr: addr(text) }));
  const onNode = [workload.ip4, workload.ip6].flatMap((text) =>
    text === null ? [] : [{ netns: NODE_NETNS, addr: addr(text) }],
  );
  return [...own, ...onNode];
}

function keyText(key: AddrKey): string {
  return `${key.netns} ${formatAddress(key.addr.bytes)}`;
}
