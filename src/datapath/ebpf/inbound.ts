/** Inbound steering: one sk_lookup instance per pod, attached to its network namespace and pinned. */
import { existsSync } from 'node:fs';
import { attachedPrograms, BpfError, Link, Program } from 'libbpf-ts';
import type { NetnsRef } from '../../pod/workload.ts';
import { isAttached } from './attachments.ts';
import { operationError } from './failure.ts';
import { InboundPool } from './inbound_pool.ts';
import type { InboundObject, Objects } from './objects.ts';
import type { Pins } from './pins.ts';

export class Inbound implements Disposable {
  readonly #pool: InboundPool<InboundObject>;
  readonly #pins: Pins;
  /** By netns cookie. The kernel's link holds the program and its maps: ours of the object are closed. */
  readonly #instances = new Map<bigint, Link>();

  constructor(objects: Objects, pins: Pins) {
    this.#pool = new InboundPool(() => objects.loadInbound());
    this.#pins = pins;
  }

  /**
   * Attaches the pod's instance, or swaps this agent's program into the link that an earlier one left. Idempotent.
   *
   * @returns true when something was attached or updated
   */
  async attach(netns: NetnsRef): Promise<boolean> {
    if (this.isAttached(netns.cookie)) return false;
    this.#drop(netns.cookie);
    using object = await this.#pool.take();
    try {
      object.maps.shunt_served.set(0, netns.cookie).freeze();
      this.#instances.set(netns.cookie, this.#adopt(netns.cookie, object) ?? this.#create(netns, object));
      return true;
    } catch (error) {
      throw operationError(error, `inbound of ${netns.path}`);
    }
  }

  /** Attached by this agent, pinned, and its namespace still there. */
  isAttached(cookie: bigint): boolean {
    const link = this.#instances.get(cookie);
    return link !== undefined && existsSync(this.#pins.inbound(cookie)) && isAttached(link);
  }

  /** True when the pin holds a live attachment, whoever made it. */
  isPinned(cookie: bigint): boolean {
    if (this.isAttached(cookie)) return true;
    const path = this.#pins.inbound(cookie);
    if (!existsSync(path)) return false;
    using link = Link.fromPin(path);
    return isAttached(link);
  }

  /** Of the namespace that the pin's attachment is in; null when it is gone. */
  netnsInode(cookie: bigint): bigint | null {
    const path = this.#pins.inbound(cookie);
    if (!existsSync(path)) return null;
    using link = Link.fromPin(path);
    const { netnsIno } = link.info();
    return netnsIno === undefined || netnsIno === 0 ? null : BigInt(netnsIno);
  }

  /**
   * Programs of others at the same hook, `name (id)`. All of them run, in the order in which they were attached, and the
   * last that chooses a socket has its way.
   */
  others({ cookie, path }: NetnsRef): string[] {
    const own = this.#instances.get(cookie)?.info().programId;
    try {
      return attachedPrograms(path, 'sk_lookup')
        .filter((id) => id !== own)
        .map((id) => `${programName(id)} (${id})`);
    } catch (error) {
      // The namespace ended meanwhile.
      if (error instanceof BpfError && error.code === 'ENOENT') return [];
      throw error;
    }
  }

  /** Detaches and unpins. Idempotent. */
  remove(cookie: bigint): void {
    this.#pins.removePod(cookie);
    this.#drop(cookie);
  }

  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]();
    for (const cookie of [...this.#instances.keys()]) this.#drop(cookie);
  }

  #adopt(cookie: bigint, object: InboundObject): Link | null {
    const path = this.#pins.inbound(cookie);
    if (!existsSync(path)) return null;
    const link = Link.fromPin(path);
    if (isAttached(link)) {
      link.update(object.programs.shunt_inbound);
      return link;
    }
    link.close();
    this.#pins.removePod(cookie);
    return null;
  }

  #create(netns: NetnsRef, object: InboundObject): Link {
    this.#pins.preparePod(netns.cookie);
    const link = Link.attachNetns(object.programs.shunt_inbound, { netns: netns.path });
    try {
      link.pin(this.#pins.inbound(netns.cookie));
      return link;
    } catch (error) {
      link.close();
      this.#pins.removePod(netns.cookie);
      throw error;
    }
  }

  #drop(cookie: bigint): void {
    this.#instances.get(cookie)?.close();
    this.#instances.delete(cookie);
  }
}

function programName(id: number): string {
  try {
    using program = Program.fromId(id);
    return program.name;
  } catch (error) {
    if (error instanceof BpfError && error.code === 'ENOENT') return 'gone';
    throw error;
  }
}
