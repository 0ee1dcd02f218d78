/** The iptables backend: a pod's policy stands as rules in its own network namespace, and stays there without the agent. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../../errors.ts';
import { netnsInode } from '../../pod/netns.ts';
import {
  addPassthrough,
  PASSTHROUGH_6,
  removePassthrough,
  wantsPassthrough,
} from '../../pod/passthrough_address.ts';
import type { Workload } from '../../pod/workload.ts';
import type { AddressFamily } from '../../policy/address.ts';
import type { AccelerationState, Datapath, DatapathEvent, HeldLink, HeldPod, MapFill } from '../interface.ts';
import { type Place, readRules, writeRules } from './apply.ts';
import { Detector } from './detect.ts';
import { digest, type PodRecord, Records } from './records.ts';
import { inboundRulesetOf, rulesetOf } from './render.ts';
import { EMPTY, type Ruleset } from './ruleset.ts';

/**
 * What of a policy stands as rules: all of it, or what reaches the pod from outside, where eBPF takes the rest. Each
 * remembers its pods in a directory of its own; both write the same chains.
 */
export type Part = 'whole' | 'inbound';
const DIRECTORIES: Readonly<Record<Part, string>> = { whole: 'iptables', inbound: 'iptables-inbound' };
const PARTS: readonly Part[] = ['whole', 'inbound'];

type Undo = () => Promise<void>;

export class IptablesDatapath implements Datapath {
  readonly backend = 'iptables';
  readonly adopted: { links: number; pods: number };
  readonly #part: Part;
  readonly #directory: string;
  readonly #records: Records;
  readonly #detector = new Detector();

  /** @param runDirectory of the agent; what is to be remembered stands in a directory in it */
  constructor(runDirectory: string, part: Part = 'whole') {
    this.#part = part;
    this.#directory = runDirectory;
    this.#records = new Records(join(runDirectory, DIRECTORIES[part]));
    this.adopted = { links: 0, pods: this.#records.all().length };
  }

  /** Pods that an agent with this run directory left enrolled; makes nothing. */
  static recorded(runDirectory: string, parts: readonly Part[] = PARTS): PodRecord[] {
    return parts.flatMap((part) => {
      const directory = join(runDirectory, DIRECTORIES[part]);
      return existsSync(directory) ? new Records(directory).all().map(([, record]) => record) : [];
    });
  }

  /**
   * @throws SHUNT_E_IPTABLES_MISSING, SHUNT_E_IPTABLES_APPLY, SHUNT_E_NETNS_MISSING, SHUNT_E_POLICY; the pod is then
   *   as it was before, in both families
   */
  async enroll(workload: Workload): Promise<void> {
    const { netns } = workload;
    const pod = `${workload.namespace}/${workload.name}`;
    if (netnsInode(netns.path) !== netns.inode) {
      throw new ShuntError('SHUNT_E_NETNS_MISSING', 'it went away meanwhile', { target: netns.path });
    }
    const before = this.#records.get(netns.cookie);
    const wanted = rulesOf(workload, this.#part);
    const places = await this.#places(workload, wanted, before);
    const record: PodRecord = {
      cookie: String(netns.cookie),
      netns: netns.path,
      inode: String(netns.inode),
      ip4: workload.ip4,
      ip6: workload.ip6,
      rules: places.map(({ family, variant }) => {
        return { family, variant, wanted: digest(wanted.get(family) ?? EMPTY), saved: null };
      }),
      passthroughAdded: before?.passthroughAdded ?? false,
    };
    this.#records.put(record);
    const undo: Undo[] = [];
    try {
      for (const place of places) {
        const rules = record.rules.find(({ family }) => family === place.family);
        const saved = await replaceRules(place, wanted.get(place.family) ?? EMPTY, undo);
        if (rules !== undefined) rules.saved = saved;
      }
      if (this.#part === 'whole')
        record.passthroughAdded = settlePassthrough(workload, record.passthroughAdded, undo);
    } catch (error) {
      const left = await takeBack(undo);
      if (before !== undefined) this.#records.put({ ...before, netns: netns.path });
      else if (left.length === 0) this.#records.delete(netns.cookie);
      throw failure(error, pod, left);
    }
    record.rules = record.rules.filter(({ family }) => wanted.has(family));
    this.#records.put(record);
  }

  async withdraw(cookie: bigint): Promise<void> {
    const record = this.#records.get(cookie);
    if (record === undefined) return;
    // The same namespace under another key: its rules are that pod's now.
    const taken = this.#records.all().some(([key, { inode }]) => key !== cookie && inode === record.inode);
    try {
      if (!taken && !isGone(record)) await remove(record, this.#isHeldOtherwise(record));
    } catch (error) {
      // With the namespace its rules go too.
      if (!isGone(record)) throw error;
    }
    this.#records.delete(cookie);
  }

  async drift(workload: Workload): Promise<string[]> {
    const record = this.#records.get(workload.netns.cookie);
    if (record === undefined) return ['it has no rules of ours'];
    const wanted = rulesOf(workload, this.#part);
    const found: string[] = [];
    for (const rules of record.rules) {
      const name = `its IPv${rules.family} rules`;
      const place = { netns: workload.netns.path, family: rules.family, variant: rules.variant };
      if (!wanted.has(rules.family)) found.push(`${name} are not wanted any more`);
      else if (digest(wanted.get(rules.family) ?? EMPTY) !== rules.wanted)
        found.push(`${name} are of another policy`);
      else if (digest(await readRules(place)) !== rules.saved)
        found.push(`${name} are not as they were applied`);
    }
    for (const family of wanted.keys()) {
      if (!record.rules.some((rules) => rules.family === family))
        found.push(`its IPv${family} rules are missing`);
    }
    if (
      this.#part === 'whole' &&
      wantsPassthrough(workload) &&
      !workload.netns.addresses.includes(PASSTHROUGH_6)
    ) {
      found.push(`${PASSTHROUGH_6} is not on its lo`);
    }
    return found;
  }

  /** Nothing is remembered. */
  forget(): void {}

  obstacles(): string[] {
    return [];
  }

  others(): string[] {
    return [];
  }

  /** There is nothing of ours outside the pods. */
  async repair(): Promise<string[]> {
    return [];
  }

  isEnrolled(cookie: bigint): boolean {
    return this.#records.get(cookie) !== undefined;
  }

  isGone(cookie: bigint): boolean {
    const record = this.#records.get(cookie);
    return record !== undefined && isGone(record);
  }

  /** REDIRECT goes to a port, whoever listens there. */
  recapture(): number {
    return 0;
  }

  cookies(): bigint[] {
    return this.#records.all().map(([cookie]) => cookie);
  }

  pods(): HeldPod[] {
    return this.#records.all().map(([cookie, { ip4, ip6 }]) => ({
      cookie,
      ip4,
      ip6,
      inbound: true,
      listeners: { ip4: 0, ip6: 0 },
      acceleration: 'off',
      counters: {},
    }));
  }

  links(): HeldLink[] {
    return [];
  }

  maps(): MapFill[] {
    return [];
  }

  counters(): Record<string, bigint> {
    return {};
  }

  acceleration(): AccelerationState {
    return { enabled: false, reason: 'the iptables backend has none' };
  }

  setAcceleration(): void {}

  /** None: iptables tells nobody. Ends with the signal. */
  events(signal: AbortSignal): AsyncIterable<DatapathEvent> {
    const next = async (): Promise<IteratorResult<DatapathEvent>> => {
      if (!signal.aborted) await once(signal, 'abort');
      return { done: true, value: undefined };
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  /** Rules and records stay. */
  [Symbol.dispose](): void {}

  /** Whether the rules that stand are those of the other part, which wrote them over ours. */
  #isHeldOtherwise({ inode }: PodRecord): boolean {
    const [other = this.#part] = PARTS.filter((part) => part !== this.#part);
    const records = new Records(join(this.#directory, DIRECTORIES[other])).all();
    return records.some(([, record]) => record.inode === inode);
  }

  /** Where rules are to be written: families wanted, and those that hold ours and are not wanted any more. */
  async #places(
    workload: Workload,
    wanted: ReadonlyMap<AddressFamily, Ruleset>,
    before: PodRecord | undefined,
  ): Promise<Place[]> {
    const netns = workload.netns.path;
    const places: Place[] = [];
    for (const family of [4, 6] as const) {
      const held = before?.rules.find((rules) => rules.family === family);
      if (held === undefined && !wanted.has(family)) continue;
      places.push({ netns, family, variant: held?.variant ?? (await this.#detector.choose(netns, family)) });
    }
    return places;
  }
}

/** Rules by family. A pod without an IPv6 address gets none for it, as with every mesh. */
function rulesOf({ policy, ip4, ip6 }: Workload, part: Part): Map<AddressFamily, Ruleset> {
  const render = part === 'whole' ? rulesetOf : inboundRulesetOf;
  const wanted = new Map<AddressFamily, Ruleset>();
  if (policy.families.ip4) wanted.set(4, render(policy, 4, ip4));
  if (policy.families.ip6 && ip6 !== null) wanted.set(6, render(policy, 6, ip6));
  return wanted;
}

/** @returns digest of the rules as iptables prints them */
async function replaceRules(place: Place, wanted: Ruleset, undo: Undo[]): Promise<string> {
  const before = await readRules(place);
  undo.unshift(async () => writeRules(place, await readRules(place), before));
  await writeRules(place, before, wanted);
  return digest(await readRules(place));
}

/** @returns whether ::6 stands on lo because of us */
function settlePassthrough(workload: Workload, added: boolean, undo: Undo[]): boolean {
  const { path, addresses } = workload.netns;
  const there = addresses.includes(PASSTHROUGH_6);
  if (wantsPassthrough(workload) === there) return there && added;
  if (there) {
    if (!added) return false;
    removePassthrough(path);
    undo.unshift(async () => void addPassthrough(path));
    return false;
  }
  // The workload's addresses may be older than what the last enrolment added.
  if (!addPassthrough(path)) return added;
  undo.unshift(async () => removePassthrough(path));
  return true;
}

/** @param keepRules only what else was done to the pod is taken back */
async function remove({ netns, rules, passthroughAdded }: PodRecord, keepRules: boolean): Promise<void> {
  for (const { family, variant } of keepRules ? [] : rules) {
    const place = { netns, family, variant };
    await writeRules(place, await readRules(place), EMPTY);
  }
  if (passthroughAdded) removePassthrough(netns);
}

function isGone({ netns, inode }: PodRecord): boolean {
  return netnsInode(netns) !== BigInt(inode);
}

/** Goes back as far as it can; what cannot be taken back, in words. */
async function takeBack(undo: readonly Undo[]): Promise<string[]> {
  const left: string[] = [];
  for (const step of undo) {
    try {
      await step();
    } catch (error) {
      left.push(String(error));
    }
  }
  return left;
}

function failure(error: unknown, pod: string, left: readonly string[]): unknown {
  if (!(error instanceof ShuntError)) return error;
  const rest = left.length === 0 ? '' : `; what was changed could not be taken back: ${left.join('; ')}`;
  return new ShuntError(error.code, `${error.message}${rest}`, { target: pod, fix: error.fix, cause: error });
}
