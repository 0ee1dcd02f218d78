import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AgentClient } from '../../agent/client.ts';
import { readMeta } from '../../datapath/ebpf/inspect.ts';
import { Pins } from '../../datapath/ebpf/pins.ts';
import { ShuntError } from '../../errors.ts';
import { cgroup2Mount } from '../../lab/cgroup.ts';
import { assertFree } from '../../lab/claim.ts';
import { run } from '../../lab/command.ts';
import { heldRules } from '../cleanup_rules.ts';
import type { Io } from '../io.ts';
import { cleanUp, type RemovalOptions, removePins } from './pins.ts';

/**
 * Makes sure that the demo may use this node: nobody else's agent or pins are on it. Pins of a demo that was killed
 * are removed.
 *
 * @param prefix of the demo's test bed
 * @throws SHUNT_E_NOT_ROOT, SHUNT_E_LAB_IN_USE, SHUNT_E_AGENT_RUNNING, SHUNT_E_DEMO_NODE_IN_USE
 */
export async function claimNode(prefix: string, removal: RemovalOptions, io: Io): Promise<void> {
  if (process.getuid?.() !== 0) throw new ShuntError('SHUNT_E_NOT_ROOT');
  assertFree(prefix);
  const { socket, bpffs } = removal;
  const pid = await agentPid(socket);
  const stale = isDemos(bpffs, prefix);
  const rules = leftRules(prefix, socket);
  if (pid !== null && !stale && !rules) {
    throw new ShuntError('SHUNT_E_AGENT_RUNNING', `an agent (pid ${pid}) answers on it`, {
      target: socket,
      fix: 'the demo needs a node of its own: stop the agent and run `shunt cleanup`, or use another machine',
    });
  }
  if (rules) {
    io.note('removing rules that a demo that was killed left behind');
    await cleanUp(removal);
  }
  const { root } = new Pins(bpffs);
  if (!existsSync(root) || readdirSync(root).length === 0) return;
  if (!stale) throw new ShuntError('SHUNT_E_DEMO_NODE_IN_USE', undefined, { target: root });
  io.note('removing what a demo that was killed left behind');
  await removePins(removal);
}

/**
 * Rules that the agent of a demo left in its pods, that demo having been killed.
 *
 * @throws SHUNT_E_DEMO_NODE_IN_USE when the pods are not a demo's
 */
function leftRules(prefix: string, socket: string): boolean {
  const rules = heldRules(socket);
  const foreign = rules.find(({ path }) => !path.startsWith(`/run/netns/${prefix}-`));
  if (foreign !== undefined) {
    throw new ShuntError('SHUNT_E_DEMO_NODE_IN_USE', "its iptables rules are an agent's", {
      target: foreign.path,
    });
  }
  return rules.length > 0;
}

/** The pins are of an agent of an earlier demo: its cgroup says so. */
function isDemos(bpffs: string, prefix: string): boolean {
  return readMeta(bpffs)?.cgroup === join(cgroup2Mount(), prefix);
}

async function agentPid(socket: string): Promise<number | null> {
  try {
    return (await new AgentClient(socket, { timeoutMs: 3_000 }).status()).pid;
  } catch (error) {
    if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return null;
    throw error;
  }
}

/** Mounts a BPF file system where there is none, and unmounts what it mounted when disposed of. */
export async function withBpffs(bpffs: string, io: Io): Promise<AsyncDisposable> {
  if (isBpffs(bpffs)) return { [Symbol.asyncDispose]: async () => {} };
  mkdirSync(bpffs, { recursive: true });
  await run(['mount', '-t', 'bpf', 'bpf', bpffs]);
  io.note(`mounted a BPF file system on ${bpffs} for the time of the demo`);
  return {
    [Symbol.asyncDispose]: async () => {
      await run(['umount', bpffs]);
    },
  };
}

/** On one, or below one: the longest mount point that holds the path decides. */
function isBpffs(path: string): boolean {
  let best = { point: '', type: '' };
  for (const entry of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, point = '', type = ''] = entry.split(' ');
    const holds = path === point || path.startsWith(point === '/' ? '/' : `${point}/`);
    if (holds && point.length >= best.point.length) best = { point, type };
  }
  return best.type === 'bpf';
}

/** Removes the folder afterwards, if it is not there yet: the agent makes one for its socket. */
export function withFolder(folder: string): Disposable {
  if (existsSync(folder)) return { [Symbol.dispose]: () => {} };
  return { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}
