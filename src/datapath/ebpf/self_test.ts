/** What of the tiers this kernel can, found out by doing it in a network namespace of its own. */
import { existsSync } from 'node:fs';
import { attachSockmapProgram, Link } from 'libbpf-ts';
import { errorReport, ShuntError } from '../../errors.ts';
import { newNetns } from '../../pod/netns.ts';
import { type TierState, tierState } from '../tier.ts';
import { builtObjects } from './compile.ts';
import { type AccelerateObject, DEFAULT_SIZES, Objects, type Sizes } from './objects.ts';

export const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
/** Room enough to load: nothing is put in. */
const TINY: Sizes = { ...DEFAULT_SIZES, pods: 1, policies: 1, rules: 1, handshakes: 1, connections: 1 };

/**
 * Whether inbound connections can be steered: loads a pod's program and attaches it to a new network namespace.
 *
 * @returns null when they can, else why not
 */
export async function inboundFault(objects: Objects): Promise<string | null> {
  try {
    using object = await objects.loadInbound();
    using netns = newNetns();
    Link.attachNetns(object.programs.shunt_inbound, { netns: netns.fd }).close();
    return null;
  } catch (error) {
    return `inbound steering does not work here: ${firstLine(error)}`;
  }
}

/** Acceleration's programs, attached: the iterator has run once. */
export interface Acceleration extends Disposable {
  object: AccelerateObject;
  iterator: Link;
}

/** Loads, attaches and runs what acceleration needs. @returns why not, where the kernel cannot */
export async function startAcceleration(objects: Objects): Promise<Acceleration | string> {
  if (!existsSync(KERNEL_BTF)) return `the kernel has no BTF at ${KERNEL_BTF}`;
  using stack = new DisposableStack();
  try {
    const object = stack.use(await objects.loadAccelerate());
    attachSockmapProgram(object.programs.shunt_msg, object.maps.shunt_socks);
    const iterator = Link.attachIter(object.programs.shunt_promote, { map: object.maps.shunt_conns });
    stack.defer(() => iterator.close());
    await iterator.readIter();
    const kept = stack.move();
    return { object, iterator, [Symbol.dispose]: () => kept.dispose() };
  } catch (error) {
    return `acceleration's programs do not load here: ${firstLine(error)}`;
  }
}

/**
 * The tier that an agent would have here. Loads everything, pins and attaches nothing but in passing.
 *
 * @param directory of the compiled *.bpf.o files
 */
export async function probeTier(directory = builtObjects()): Promise<TierState> {
  const objects = new Objects(directory, null, TINY);
  try {
    using _ = await objects.loadNode();
  } catch (error) {
    if (!(error instanceof ShuntError)) throw error;
    return tierState(0, firstLine(error));
  }
  const inbound = await inboundFault(objects);
  if (inbound !== null) return tierState(1, inbound);
  const acceleration = await startAcceleration(objects);
  if (typeof acceleration === 'string') return tierState(2, acceleration);
  acceleration[Symbol.dispose]();
  return tierState(3, null);
}

function firstLine(error: unknown): string {
  const { message, code } = errorReport(error);
  return `${message.split('\n')[0]} [${code}]`;
}
