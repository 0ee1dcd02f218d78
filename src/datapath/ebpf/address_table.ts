/** Which addresses are whose: of each pod those of its network namespace, and of the node those of its pods. */
import type { BpfMap } from 'libbpf-ts';
import { PASSTHROUGH_6, wantsPassthrough } from '../../pod/passthrough_address.ts';
import type { Workload } from '../../pod/workload.ts';
import { formatAddress } from '../../policy/address.ts';
import type { AddrKey } from './gen/objects.ts';
import { addr } from './pod_value.ts';

/** Stands for a network namespace in the keys of the node's table. */
const NODE_NETNS = 0n;

interface Entry {
  key: AddrKey;
  /** Cookie of a namespace. */
  owner: bigint;
}

export class AddressTable {
  readonly #map: BpfMap<AddrKey, bigint>;
  /** What the map holds, by the text of the key, once it was read: nobody else writes it while an agent has the lock. */
  #known: Map<string, Entry> | null = null;

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
    const known = this.#entries();
    const wanted = new Map(keysOf(workload).map((key) => [keyText(key), key]));
    // Read anew where this fails in the middle.
    this.#known = null;
    this.#map.setMany([...wanted.values()].map((key) => [key, cookie] as const));
    for (const [text, key] of wanted) known.set(text, { key, owner: cookie });
    this.#known = known;
    this.#delete(([text, { owner }]) => owner === cookie && !wanted.has(text));
  }

  lacks(workload: Workload): boolean {
    return keysOf(workload).some((key) => !this.#map.has(key));
  }

  release(cookie: bigint): void {
    this.#delete(([, { owner }]) => owner === cookie);
  }

  /** Cookies of the namespaces that have an entry, each as often as it has, as the kernel tells now. */
  owners(): bigint[] {
    this.#known = null;
    return [...this.#entries().values()].map(({ owner }) => owner);
  }

  #entries(): Map<string, Entry> {
    this.#known ??= new Map([...this.#map].map(([key, owner]) => [keyText(key), { key, owner }]));
    return this.#known;
  }

  #delete(isStale: (entry: [string, Entry]) => boolean): void {
    const entries = this.#entries();
    const stale = [...entries].filter(isStale);
    this.#map.deleteMany(stale.map(([, { key }]) => key));
    for (const [text] of stale) entries.delete(text);
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
