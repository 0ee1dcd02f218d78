/** How inbound connections of a pod reach its sidecar: steered by a program, or at tier 1 by the inbound chain of iptables. */
import { ShuntError } from '../../errors.ts';
import type { NetnsRef, Workload } from '../../pod/workload.ts';
import { IptablesDatapath } from '../iptables/datapath.ts';
import type { Inbound } from './inbound.ts';
import type { Pins } from './pins.ts';

export class InboundWays implements Disposable {
  readonly #pins: Pins;
  readonly #steering: Inbound;
  /** What an agent at the other way left is there, too, until the pod is enrolled again. */
  readonly #rules: IptablesDatapath | null;
  readonly #isSteered: boolean;

  /**
   * @param steering owned from here on
   * @param options.rulesDirectory where rules are remembered; null where there may be none
   */
  constructor(
    pins: Pins,
    steering: Inbound,
    { isSteered, rulesDirectory }: { isSteered: boolean; rulesDirectory: string | null },
  ) {
    this.#pins = pins;
    this.#steering = steering;
    this.#isSteered = isSteered;
    this.#rules = rulesDirectory === null ? null : new IptablesDatapath(rulesDirectory, 'inbound');
  }

  /** Makes the way of this tier, then takes away the other one. Idempotent. */
  async attach(workload: Workload): Promise<void> {
    const { netns } = workload;
    if (this.#isSteered) {
      await this.#steering.attach(netns);
      await this.#rules?.withdraw(netns.cookie);
      return;
    }
    if (this.#rules === null) throw noRules(netns);
    await this.#rules.enroll(workload);
    this.#steering.remove(netns.cookie);
  }

  /** True when the way of this tier is in force. */
  holds(cookie: bigint): boolean {
    return this.#isSteered ? this.#steering.isPinned(cookie) : (this.#rules?.isEnrolled(cookie) ?? false);
  }

  /** One sentence for each difference. */
  async drift(workload: Workload): Promise<string[]> {
    if (!this.#isSteered) return (await this.#rules?.drift(workload)) ?? [];
    return this.holds(workload.netns.cookie) ? [] : ['inbound steering is not attached'];
  }

  /** True when the pod's network namespace is gone. */
  isGone(cookie: bigint): boolean {
    if (this.#rules?.isGone(cookie) === true) return true;
    return this.#pins.hasPod(cookie) && !this.#steering.isPinned(cookie);
  }

  /** Pods that have one way or the other. */
  cookies(): bigint[] {
    return [...this.#pins.podCookies(), ...(this.#rules?.pods() ?? []).map(({ cookie }) => cookie)];
  }

  /** Programs of others that steer the pod's inbound connections as well. */
  others(netns: NetnsRef): string[] {
    return this.#steering.others(netns);
  }

  /** Of the pod's network namespace; null when it is gone, or nothing is attached there. */
  netnsInode(cookie: bigint): bigint | null {
    return this.#steering.netnsInode(cookie);
  }

  /** Idempotent. */
  async remove(cookie: bigint): Promise<void> {
    this.#steering.remove(cookie);
    await this.#rules?.withdraw(cookie);
  }

  [Symbol.dispose](): void {
    this.#steering[Symbol.dispose]();
  }
}

function noRules({ path }: NetnsRef): ShuntError {
  const detail = 'inbound rules: another agent holds the run directory';
  return new ShuntError('SHUNT_E_BACKEND_UNAVAILABLE', detail, { target: path });
}
