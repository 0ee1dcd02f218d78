/**
 * The cgroup attachments, each a pinned bpf_link: enforcement outlives the agent, and a new agent swaps in its programs
 * with link updates, so that at no moment a connection meets none.
 */
import { existsSync, statSync, unlinkSync } from 'node:fs';
import { Link, type Program } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import type { HeldLink } from '../interface.ts';
import { operationError } from './failure.ts';
import type { NodeObjects } from './objects.ts';
import { type Pins, unprefixed } from './pins.ts';

export interface Target {
  /** Absolute path of a cgroup2 directory. */
  path: string;
  id: bigint;
}

export class Attachments implements Disposable {
  readonly #pins: Pins;
  readonly #target: Target;
  readonly #programs: Map<string, Program>;
  readonly #links = new Map<string, Link>();
  /** Links that were in place when this agent started. */
  adopted = 0;

  constructor(pins: Pins, target: Target, objects: NodeObjects) {
    this.#pins = pins;
    this.#target = target;
    this.#programs = new Map([
      ...Object.entries<Program>(objects.listen.programs),
      ...Object.entries<Program>(objects.sockops.programs),
      ...Object.entries<Program>(objects.sockopt.programs),
      // Last: what comes before must be able to answer for the connections that these redirect.
      ...Object.entries<Program>(objects.dns.programs),
      ...Object.entries<Program>(objects.connect.programs),
    ]);
  }

  /**
   * Attaches every program, or updates the link that holds an older one.
   *
   * @throws SHUNT_E_PINS_CGROUP when the pins belong to another cgroup that still exists; nothing is changed then.
   *   SHUNT_E_ATTACH when the kernel cannot; nothing stays attached then that was not before
   */
  attachAll(): void {
    for (const name of this.#programs.keys()) this.#checkTarget(name);
    const before = new Set(this.#pins.linkNames());
    try {
      for (const [name, program] of this.#programs) this.#attach(name, program);
    } catch (error) {
      if (before.size > 0) throw error;
      this[Symbol.dispose]();
      for (const name of this.#pins.linkNames()) unlinkSync(this.#pins.link(name));
      if (!(error instanceof ShuntError) || error.code !== 'SHUNT_E_DATAPATH') throw error;
      throw new ShuntError('SHUNT_E_ATTACH', error.message, { cause: error });
    }
  }

  /** Puts back links that are gone; one sentence for each. */
  repair(): string[] {
    const repaired: string[] = [];
    for (const [name, program] of this.#programs) {
      const held = this.#links.get(name);
      if (held !== undefined && existsSync(this.#pins.link(name)) && isAttached(held)) continue;
      held?.close();
      this.#links.delete(name);
      this.#attach(name, program);
      repaired.push(`attached ${name} again`);
    }
    return repaired;
  }

  list(): HeldLink[] {
    return [...this.#links].map(([name, link]) => {
      const info = link.info();
      return {
        name: unprefixed(name),
        attachType: String(info.attachType ?? 'unknown'),
        attached: isAttached(link),
        linkId: info.id,
        programId: info.programId,
      };
    });
  }

  [Symbol.dispose](): void {
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  #checkTarget(name: string): void {
    const path = this.#pins.link(name);
    if (!existsSync(path)) return;
    using link = Link.fromPin(path);
    const { cgroupId } = link.info();
    if (cgroupId === undefined || cgroupId === 0n || cgroupId === this.#target.id) return;
    throw new ShuntError(
      'SHUNT_E_PINS_CGROUP',
      `attached to cgroup ${cgroupId}, asked for ${this.#target.id}`,
      {
        target: path,
      },
    );
  }

  #attach(name: string, program: Program): void {
    const path = this.#pins.link(name);
    try {
      const pinned = this.#adopt(path);
      if (pinned !== null) {
        pinned.update(program);
        this.#links.set(name, pinned);
        this.adopted++;
        return;
      }
      const link = Link.attachCgroup(program, { cgroup: this.#target.path });
      try {
        link.pin(path);
      } catch (error) {
        link.close();
        throw error;
      }
      this.#links.set(name, link);
    } catch (error) {
      throw operationError(error, name);
    }
  }

  /** The link pinned there, if it still holds; a pin whose cgroup is gone is removed. */
  #adopt(path: string): Link | null {
    if (!existsSync(path)) return null;
    const link = Link.fromPin(path);
    if (isAttached(link)) return link;
    link.close();
    unlinkSync(path);
    return null;
  }
}

/** The kernel zeroes a link's target when that is deleted. */
export function isAttached(link: Link): boolean {
  const info = link.info();
  if (info.cgroupId !== undefined) return info.cgroupId !== 0n;
  return info.netnsIno !== undefined && Number(info.netnsIno) !== 0;
}

/** @throws SHUNT_E_ATTACH_ROOT for the root of the hierarchy: every process of the machine would run our programs */
export function refuseRoot(path: string): void {
  const here = statSync(path, { bigint: true });
  const above = statSync(`${path}/..`, { bigint: true });
  if (here.dev !== above.dev) throw new ShuntError('SHUNT_E_ATTACH_ROOT', undefined, { target: path });
}
