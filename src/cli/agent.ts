import * as v from 'valibot';
import { runAgent } from '../agent/agent.ts';
import { DEFAULT_CNI_BIN_DIR } from '../agent/api.ts';
import type { CniChain } from '../agent/cni_service.ts';
import { ShuntError } from '../errors.ts';
import { createLog } from '../observe/log.ts';
import type { Context } from './context.ts';
import { kubepodsCgroup } from './kubepods.ts';
import { StopSignal } from './signals.ts';

const DEFAULT_RECONCILE_S = 60;

const Options = v.object({
  pods: v.optional(v.string()),
  config: v.optional(v.string()),
  cgroup: v.optional(v.string()),
  cniSocket: v.optional(v.string()),
  cniNetDir: v.optional(v.string()),
  cniBinDir: v.optional(v.string(), DEFAULT_CNI_BIN_DIR),
  cniOwnPods: v.optional(v.string()),
  backend: v.picklist(['auto', 'ebpf', 'iptables']),
  compile: v.optional(v.boolean(), false),
  acceleration: v.picklist(['on', 'off']),
  maxPods: v.optional(v.number()),
  maxPolicies: v.optional(v.number()),
  reconcileInterval: v.optional(v.number(), DEFAULT_RECONCILE_S),
});

/**
 * Runs the agent until SIGINT or SIGTERM. Its log goes to stdout; everything it pins stays.
 *
 * @throws SHUNT_E_USAGE without --pods, and what runAgent() throws
 */
export async function agent(context: Context, given: unknown): Promise<undefined> {
  const options = v.parse(Options, given);
  if (options.pods === undefined) {
    throw new ShuntError('SHUNT_E_USAGE', '--pods is needed: it says where the pods come from', {
      fix: 'give a file or directory of Pod manifests with --pods',
    });
  }
  using stop = new StopSignal();
  await runAgent(
    {
      pods: options.pods,
      config: options.config ?? null,
      backend: options.backend,
      cgroup: () => options.cgroup ?? kubepodsCgroup() ?? cgroupRequired(),
      bpffs: context.bpffs,
      cniSocket: options.cniSocket ?? null,
      cniChain: chainOf(options),
      socket: context.socket,
      compile: options.compile,
      acceleration: options.acceleration === 'on',
      maxPods: options.maxPods,
      maxPolicies: options.maxPolicies,
      reconcileIntervalMs: options.reconcileInterval * 1000,
    },
    createLog(),
    stop.signal,
  );
}

/** @throws SHUNT_E_USAGE for a plugin that nobody would answer */
function chainOf({
  cniSocket,
  cniNetDir,
  cniBinDir,
  cniOwnPods,
}: v.InferOutput<typeof Options>): CniChain | null {
  if (cniNetDir === undefined) return null;
  if (cniSocket === undefined)
    throw new ShuntError(
      'SHUNT_E_USAGE',
      '--cni-net-dir needs --cni-socket, on which the plugin is answered',
    );
  return { netDir: cniNetDir, binDir: cniBinDir, ownPods: cniOwnPods ?? null };
}

function cgroupRequired(): never {
  throw new ShuntError('SHUNT_E_CGROUP_REQUIRED');
}
