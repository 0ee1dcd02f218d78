/** The eBPF backend: what is true of a workload is in maps, and the programs take the decisions. */
import { type PerCpuMap, RingBuffer } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { hasCookies } from '../../pod/netns.ts';
import { PASSTHROUGH_6, wantsPassthrough } from '../../pod/passthrough_address.ts';
import type { Workload } from '../../pod/workload.ts';
import { VERSION } from '../../version.ts';
import type { AccelerationState, Datapath, DatapathEvent, HeldLink, HeldPod, MapFill } from '../interface.ts';
import { HIGHEST, limitedBy, type Tier, type TierState, tierState } from '../tier.ts';
import { Accelerator } from './accelerator.ts';
import { AddressTable } from './address_table.ts';
import { Attachments, refuseRoot, type Target } from './attachments.ts';
import { CookieFinder } from './cookie_finder.ts';
import { RETIRED, readCounters, readTotals, retireCounters } from './counters.ts';
import { unenforceable } from './enforceable.ts';
import { readEvents } from './events.ts';
import { operationError } from './failure.ts';
import { type Counters, type Event, EventCodec } from './gen/objects.ts';
import { Inbound } from './inbound.ts';
import { InboundWays } from './inbound_ways.ts';
import { ListenerSlots } from './listener_slots.ts';
import { mapFills } from './map_fills.ts';
import {
  checkLayout,
  DEFAULT_SIZES,
  LAYOUT_VERSION,
  type NodeObjects,
  Objects,
  type Sizes,
  unpin,
} from './objects.ts';
import { settlePassthrough, takePassthroughFrom } from './passthrough.ts';
import type { Pins } from './pins.ts';
import { podAcceleration, podAddresses, podValue, samePod } from './pod_value.ts';
import { PolicyStore } from './policy_store.ts';
import { inboundFault } from './self_test.ts';

export interface EbpfOptions {
  pins: Pins;
  /** Compiled objects: a directory of *.bpf.o. */
  objectDirectory: string;
  cgroup: Target;
  sizes?: Partial<Sizes>;
  /** What the operator asked for; a kernel that cannot stays off and says why. */
  acceleration: boolean;
  /** The highest that is tried. */
  maxTier?: Exclude<Tier, 0>;
  /** Directory that remembers the rules of tier 1; null where it may have none. */
  rulesDirectory?: string | null;
}

export class EbpfDatapath implements Datapath {
  readonly backend = 'ebpf';
  readonly adopted: { links: number; pods: number };
  readonly tier: TierState;
  readonly #objects: NodeObjects;
  readonly #attachments: Attachments;
  readonly #inbound: InboundWays;
  readonly #policies: PolicyStore;
  readonly #addresses: AddressTable;
  readonly #listeners: ListenerSlots;
  readonly #accelerator: Accelerator;
  readonly #cookies: CookieFinder | null;
  readonly #ring: RingBuffer<Event>;

  private constructor(parts: {
    objects: NodeObjects;
    attachments: Attachments;
    inbound: InboundWays;
    tier: TierState;
    accelerator: Accelerator;
    cookies: CookieFinder | null;
  }) {
    const { objects } = parts;
    this.#objects = objects;
    this.#attachments = parts.attachments;
    this.#inbound = parts.inbound;
    this.tier = parts.tier;
    this.#accelerator = parts.accelerator;
    this.#cookies = parts.cookies;
    this.#policies = new PolicyStore({
      policies: objects.connect.maps.shunt_policies,
      ports: objects.connect.maps.shunt_ports,
      cidrs: objects.connect.maps.shunt_cidrs,
      ids: objects.connect.maps.shunt_ids,
    });
    this.#addresses = new AddressTable(objects.connect.maps.shunt_addrs);
    this.#listeners = new ListenerSlots({
      listeners: objects.sockops.maps.shunt_listeners,
      roles: objects.sockops.maps.shunt_roles,
      targets: objects.sockops.maps.shunt_targets,
    });
    this.#ring = new RingBuffer(objects.connect.maps.shunt_events, EventCodec);
    this.adopted = { links: parts.attachments.adopted, pods: objects.connect.maps.shunt_pods.size() };
  }

  /**
   * Loads and attaches the programs, or takes over what an earlier agent left pinned.
   *
   * @throws SHUNT_E_BPFFS_MISSING, SHUNT_E_ATTACH_ROOT, SHUNT_E_PINS_VERSION, SHUNT_E_PINS_CGROUP, SHUNT_E_LOAD,
   *   SHUNT_E_BPF_DENIED, SHUNT_E_LIBBPF, SHUNT_E_OBJECT_MISSING; what was enrolled stays as it is
   */
  static async start(options: EbpfOptions): Promise<EbpfDatapath> {
    const { pins, cgroup } = options;
    refuseRoot(cgroup.path);
    pins.prepare();
    checkLayout(pins);
    const loader = new Objects(options.objectDirectory, pins, { ...DEFAULT_SIZES, ...options.sizes });
    using stack = new DisposableStack();
    const cookies = hasCookies() ? null : stack.use(new CookieFinder(await loader.loadCookie()));
    const before = new Set(pins.mapNames());
    const objects = stack.use(await loader.loadNode());
    const attachments = stack.use(new Attachments(pins, cgroup, objects));
    try {
      attachments.attachAll();
    } catch (error) {
      unpin(pins, before);
      throw error;
    }
    objects.connect.maps.shunt_meta.set(0, {
      layout: LAYOUT_VERSION,
      pad: 0,
      cgroup_id: cgroup.id,
      agent_version: VERSION,
      cgroup_path: cgroup.path.slice(0, 255),
    });
    const maxTier = options.maxTier ?? HIGHEST;
    const below = limitedBy(maxTier);
    const noInbound = maxTier < 2 ? below : await inboundFault(loader);
    const inbound = stack.use(
      new InboundWays(pins, new Inbound(loader, pins), {
        isSteered: noInbound === null,
        rulesDirectory: options.rulesDirectory ?? null,
      }),
    );
    const accelerator = stack.use(
      await Accelerator.start(objects.connect.maps.shunt_settings, loader, {
        hindrance: noInbound ?? (maxTier < 3 ? below : null),
        objectDirectory: options.objectDirectory,
        wanted: options.acceleration,
      }),
    );
    const limit = noInbound ?? accelerator.fault;
    const tier = tierState(noInbound !== null ? 1 : limit !== null ? 2 : 3, limit);
    const datapath = new EbpfDatapath({
      ...{ objects, attachments, inbound, tier, accelerator, cookies },
    });
    stack.move();
    return datapath;
  }

  async enroll(workload: Workload): Promise<void> {
    const { cookie, inode, path } = workload.netns;
    // Found while no finder was at work: the programs would compare with another cookie.
    if (cookie === inode) throw new ShuntError('SHUNT_E_NETNS_COOKIE', undefined, { target: path });
    refuseUnenforceable(workload);
    const maps = this.#objects.connect.maps;
    const before = maps.shunt_pods.get(cookie);
    let policy: number | null = null;
    try {
      policy = this.#policies.ensure(workload.policy);
      const value = podValue(workload, policy);
      if (!maps.shunt_counters.has(cookie)) maps.shunt_counters.setZero(cookie);
      settlePassthrough(workload);
      this.#addresses.write(workload);
      this.#listeners.capture(workload);
      await this.#inbound.attach(workload);
      // The switch: from here on the pod's connections are decided.
      maps.shunt_pods.set(cookie, value);
      // A listener that bound before the switch and listened after the first look.
      this.#listeners.capture(workload);
    } catch (error) {
      if (before === undefined) await this.#remove(cookie);
      throw operationError(error, `${workload.namespace}/${workload.name}`);
    } finally {
      // A pod that comes, or keeps its policy, leaves none without a pod: to look through all pods is spared.
      if (policy === null || !this.isEnrolled(cookie) || (before !== undefined && before.policy !== policy))
        this.#collectPolicies();
    }
  }

  async withdraw(cookie: bigint): Promise<void> {
    await this.#remove(cookie);
    this.#collectPolicies();
  }

  async drift(workload: Workload): Promise<string[]> {
    const { cookie } = workload.netns;
    const found: string[] = [];
    const held = this.#objects.connect.maps.shunt_pods.get(cookie);
    const policy = this.#policies.find(workload.policy);
    if (policy === null) found.push('its policy is not whole in the kernel');
    if (held === undefined) found.push('not in the pods map');
    else if (policy !== null && !samePod(held, podValue(workload, policy))) {
      found.push('its entry in the pods map differs');
    }
    found.push(...(await this.#inbound.drift(workload)));
    if (this.#addresses.lacks(workload)) found.push('an address is missing');
    if (wantsPassthrough(workload) && !workload.netns.addresses.includes(PASSTHROUGH_6)) {
      found.push(`${PASSTHROUGH_6} is not on its lo`);
    }
    if (!this.#listeners.holdsAny(cookie) && this.#listeners.capture(workload) > 0) {
      found.push("the sidecar's listener was not captured");
    }
    return found;
  }

  forget(): void {
    this.#policies.forget();
  }

  obstacles(workload: Workload): string[] {
    const port = this.#listeners.multipathPort(workload);
    return port === null ? [] : [`the sidecar's MPTCP listener on port ${port}`];
  }

  others({ netns }: Workload): string[] {
    return this.#inbound
      .others(netns)
      .map(
        (name) =>
          `program ${name} steers inbound connections as well; where it chooses a socket, that stands`,
      );
  }

  async repair(): Promise<string[]> {
    return [...this.#attachments.repair(), ...(await this.#sweep())];
  }

  isEnrolled(cookie: bigint): boolean {
    return this.#objects.connect.maps.shunt_pods.has(cookie);
  }

  /** True when the pod's network namespace is gone: its inbound attachment lost its target. */
  isGone(cookie: bigint): boolean {
    return this.#inbound.isGone(cookie);
  }

  /** Captures listeners now, for a pod whose inbound was refused for want of one. */
  recapture(workload: Workload): number {
    return this.#listeners.capture(workload);
  }

  cookies(): bigint[] {
    return [...this.#objects.connect.maps.shunt_pods.keys()];
  }

  pods(): HeldPod[] {
    const counters: PerCpuMap<bigint, Counters> = this.#objects.connect.maps.shunt_counters;
    return [...this.#objects.connect.maps.shunt_pods].map(([cookie, pod]) => ({
      cookie,
      ...podAddresses(pod),
      inbound: this.#inbound.holds(cookie),
      listeners: this.#listeners.count(cookie),
      acceleration: podAcceleration(pod),
      counters: readCounters(counters, cookie),
    }));
  }

  links(): HeldLink[] {
    return this.#attachments.list();
  }

  maps(): MapFill[] {
    return mapFills(this.#objects);
  }

  counters(): Record<string, bigint> {
    return readTotals(this.#objects.connect.maps.shunt_counters);
  }

  acceleration(): AccelerationState {
    return this.#accelerator.state();
  }

  setAcceleration(enabled: boolean): void {
    this.#accelerator.set(enabled);
  }

  /** Promotes connections until the signal. */
  runAcceleration(signal: AbortSignal, onError: (error: Error) => void): Promise<void> {
    return this.#accelerator.run(signal, onError);
  }

  events(signal: AbortSignal): AsyncIterable<DatapathEvent> {
    return readEvents(this.#ring, signal);
  }

  /** Closes this process's hold; everything pinned goes on. */
  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]();
    this.#accelerator[Symbol.dispose]();
    this.#cookies?.[Symbol.dispose]();
    this.#inbound[Symbol.dispose]();
    this.#attachments[Symbol.dispose]();
    this.#objects[Symbol.dispose]();
  }

  async #remove(cookie: bigint): Promise<void> {
    const maps = this.#objects.connect.maps;
    // The switch first: nothing may decide on rules that are being taken away.
    maps.shunt_pods.delete(cookie);
    const inode = this.#inbound.netnsInode(cookie);
    await this.#inbound.remove(cookie);
    if (inode !== null) takePassthroughFrom(inode);
    this.#listeners.release(cookie);
    this.#addresses.release(cookie);
    retireCounters(maps.shunt_counters, cookie);
  }

  /** Removes what an enrolment that was cut off left of a pod that is not enrolled. */
  async #sweep(): Promise<string[]> {
    const { connect, sockops } = this.#objects;
    const seen = new Set([
      ...this.#inbound.cookies(),
      ...connect.maps.shunt_counters.keys(),
      ...this.#addresses.owners(),
      ...[...sockops.maps.shunt_listeners.keys()].map((key) => key.netns),
    ]);
    seen.delete(RETIRED);
    const swept: string[] = [];
    for (const cookie of seen) {
      if (this.isEnrolled(cookie)) continue;
      await this.#remove(cookie);
      swept.push(`removed the remains of a pod that is not enrolled (netns cookie ${cookie})`);
    }
    return swept;
  }

  #collectPolicies(): void {
    const inUse = new Set([...this.#objects.connect.maps.shunt_pods].map(([, pod]) => pod.policy));
    this.#policies.collect(inUse);
  }
}

/** @throws SHUNT_E_POLICY_UNENFORCEABLE, before anything of the pod is touched */
function refuseUnenforceable({ namespace, name, policy }: Workload): void {
  const settings = unenforceable(policy);
  if (settings.length === 0) return;
  throw new ShuntError('SHUNT_E_POLICY_UNENFORCEABLE', settings.join('; '), {
    target: `${namespace}/${name}`,
  });
}
