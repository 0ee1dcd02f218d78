import { lstatSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { AgentClient } from '../agent/client.ts';
import { lockDirectory } from '../agent/lock.ts';
import { drainAcceleration, type Leftover, removePin, waitClean } from '../datapath/ebpf/cleanup.ts';
import { findPins, type Pin } from '../datapath/ebpf/pin_tree.ts';
import { Pins } from '../datapath/ebpf/pins.ts';
import { errorReport, ShuntError } from '../errors.ts';
import { heldRules, type RulesRemoval, removeRules } from './cleanup_rules.ts';
import type { Context } from './context.ts';
import { EXIT, tellFailure } from './failure.ts';
import { type Column, renderTable } from './output/table.ts';
import { write } from './output/writer.ts';

const Options = v.object({ dryRun: v.optional(v.boolean(), false), verify: v.optional(v.boolean(), false) });

/** An agent that was asked to stop ends its pass over the pods first; one that was killed is gone in no time. */
const AGENT_STOP_MS = 20_000;
const AGENT_GONE_MS = 1_000;
/** For readers of accelerated connections. */
const DRAIN_MS = 1_000;
/** The kernel's work queues take milliseconds; a busy node a few seconds. */
const KERNEL_FREE_MS = 5_000;

type Answering = 'ours' | 'other' | 'nobody';

interface Removal {
  kind: Pin['kind'] | 'agent' | 'rules' | 'socket';
  path: string;
}

const REMOVAL_COLUMNS: readonly Column<Removal>[] = [
  { head: 'KIND', cell: ({ kind }) => kind },
  { head: 'PATH', cell: ({ path }) => path },
];

/** What is left in the kernel, or a network namespace with our rules. */
type Left = Omit<Leftover, 'kind'> & { kind: Leftover['kind'] | 'rules' };

const LEFTOVER_COLUMNS: readonly Column<Left>[] = [
  { head: 'KIND', cell: ({ kind }) => kind },
  { head: 'ID', cell: ({ id }) => id },
  { head: 'NAME', cell: ({ name }) => name },
  { head: 'HELD BY', cell: ({ heldBy }) => heldBy },
];

/**
 * Stops the agent and removes every pin and rule; or lists that (--dry-run); or proves that nothing is left (--verify).
 *
 * @throws SHUNT_E_USAGE, SHUNT_E_AGENT_STAYS
 */
export async function cleanup(context: Context, given: unknown): Promise<number> {
  const { dryRun, verify } = v.parse(Options, given);
  if (dryRun && verify) throw new ShuntError('SHUNT_E_USAGE', '--dry-run and --verify exclude each other');
  if (verify) return await verifyClean(context);
  const answering = await answeringAgent(context);
  const removals = await (dryRun ? planned(context, answering) : removeAll(context, answering));
  await tellRemovals(context, removals, dryRun);
  return EXIT.ok;
}

function removalOf({ kind, path }: RulesRemoval): Removal {
  return { kind, path };
}

function planned(context: Context, answering: Answering): Removal[] {
  const agent: Removal[] = answering === 'ours' ? [{ kind: 'agent', path: context.socket }] : [];
  const rules = answering === 'other' ? [] : heldRules(context.socket).map(removalOf);
  const stale = answering === 'nobody' ? staleSocket(context) : [];
  return [...agent, ...rules, ...findPins(context.bpffs), ...stale];
}

async function removeAll(context: Context, answering: Answering): Promise<Removal[]> {
  const { root } = new Pins(context.bpffs);
  const removals: Removal[] = [];
  if (answering === 'ours') {
    await new AgentClient(context.socket).stop();
    removals.push({ kind: 'agent', path: context.socket });
  }
  const wait = answering === 'ours' ? AGENT_STOP_MS : AGENT_GONE_MS;
  if (answering !== 'other' && heldRules(context.socket).length > 0) {
    using _lock = await waitForLock(dirname(context.socket), wait);
    removals.push(...(await removeRules(context.socket)).map(removalOf));
  }
  if (lstatSync(root, { throwIfNoEntry: false }) !== undefined) {
    // Held to the end, so that no agent starts on pins that are being taken away.
    using _lock = await waitForLock(root, wait);
    await drain(context);
    const pins = findPins(context.bpffs);
    for (const pin of pins) removePin(pin);
    removals.push(...pins);
  }
  if (answering !== 'nobody') return removals;
  const stale = staleSocket(context);
  for (const { path } of stale) rmSync(path, { force: true });
  return [...removals, ...stale];
}

/** A socket file that an agent left behind when it was killed; only where nobody answers on it. */
function staleSocket({ socket }: Context): Removal[] {
  const found = lstatSync(socket, { throwIfNoEntry: false });
  return found?.isSocket() === true ? [{ kind: 'socket', path: socket }] : [];
}

async function drain(context: Context): Promise<void> {
  try {
    await drainAcceleration(context.bpffs, DRAIN_MS);
  } catch (error) {
    // Pins of another layout: they go all the same.
    context.io.note(`acceleration could not be switched off first: ${errorReport(error).message}`);
  }
}

/** Who answers on the socket: the agent of these pins, that of others, which is left alone, or nobody. */
async function answeringAgent(context: Context): Promise<Answering> {
  try {
    const { bpffs } = await new AgentClient(context.socket).status();
    if (bpffs === context.bpffs) return 'ours';
    context.io.note(`the agent on ${context.socket} works on ${bpffs}; it is left alone`);
    return 'other';
  } catch (error) {
    if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return 'nobody';
    throw error;
  }
}

async function waitForLock(root: string, timeoutMs: number): Promise<Disposable> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    try {
      return lockDirectory(root);
    } catch (cause) {
      if (!(cause instanceof ShuntError) || cause.code !== 'SHUNT_E_AGENT_RUNNING') throw cause;
      if (performance.now() > end) throw stays(root, timeoutMs === AGENT_STOP_MS, cause);
    }
    await delay(50);
  }
}

function stays(root: string, asked: boolean, cause: unknown): ShuntError {
  if (asked) return new ShuntError('SHUNT_E_AGENT_STAYS', undefined, { target: root, cause });
  return new ShuntError(
    'SHUNT_E_AGENT_STAYS',
    'an agent holds these pins and does not answer on the socket',
    {
      target: root,
      fix: 'name its socket with --socket, or stop it, then run `shunt cleanup` again',
      cause,
    },
  );
}

async function tellRemovals(context: Context, removals: Removal[], dryRun: boolean): Promise<void> {
  const text = context.format === 'table' || context.format === 'wide';
  if (text && removals.length === 0) {
    context.io.note('nothing to remove');
    return;
  }
  await write(context.io, context.format, {
    data: { dryRun, removed: removals },
    names: () => removals.map(({ kind, path }) => `${kind}/${path}`),
    text: (look) => renderTable(REMOVAL_COLUMNS, removals, look),
  });
  if (text) context.io.note(dryRun ? `${removals.length} would be removed` : `${removals.length} removed`);
}

async function verifyClean(context: Context): Promise<number> {
  const left: Left[] = [
    ...heldRules(context.socket).map(({ kind, path }) => ({ kind, id: null, name: path, heldBy: [] })),
    ...(await waitClean(context.bpffs, KERNEL_FREE_MS)),
  ];
  const clean = left.length === 0;
  await write(context.io, context.format, {
    data: { clean, left },
    names: () => left.map(({ kind, id, name }) => `${kind}/${id ?? name}`),
    text: (look) =>
      clean
        ? 'clean: no program, map, link, pin or rule of Shunt is left\n'
        : renderTable(LEFTOVER_COLUMNS, left, look),
  });
  if (clean) return EXIT.ok;
  return tellFailure(
    context.io,
    context.format,
    new ShuntError('SHUNT_E_CLEANUP_LEFT', `${left.length} objects of Shunt are left`),
  );
}
