import * as v from 'valibot';
import { runAgent } from '../agent/agent.ts';
import { DEFAULT_CNI_BIN_DIR } from '../agent/api.ts';
import type { CniChain } from '../agent/cni_service.ts';
import type { PodSourceOptions } from '../agent/pod_source.ts';
import { HIGHEST } from '../datapath/tier.ts';
import { ShuntError } from '../errors.ts';
import { createLog } from '../observe/log.ts';
import { parseListenAddress } from '../observe/metrics_server.ts';
import type { Context } from './context.ts';
import { kubepodsCgroup } from './kubepods.ts';
import { StopSignal } from './signals.ts';

const DEFAULT_RECONCILE_S = 60;

const Options = v.object({
  pods: v.optional(v.string()),
  kubeconfig: v.optional(v.string()),
  nodeName: v.optional(v.string()),
  repair: v.optional(v.picklist(['off', 'event', 'delete']), 'event'),
  config: v.optional(v.string()),
  cgroup: v.optional(v.string()),
  cniSocket: v.optional(v.string()),
  cniNetDir: v.optional(v.string()),
  cniBinDir: v.optional(v.string(), DEFAULT_CNI_BIN_DIR),
  cniOwnPods: v.optional(v.string()),
  backend: v.picklist(['auto', 'ebpf', 'iptables']),
  compile: v.optional(v.boolean(), false),
  acceleration: v.picklist(['on', 'off']),
  maxTier: v.optional(v.picklist([0, 1, 2, 3]), HIGHEST),
  maxPods: v.optional(v.number()),
  maxPolicies: v.optional(v.number()),
  metrics: v.optional(v.string()),
  reconcileInterval: v.optional(v.number(), DEFAULT_RECONCILE_S),
});

/**
 * Runs the agent until SIGINT or SIGTERM. Its log goes to stdout; everything it pins stays.
 *
 * @throws SHUNT_E_USAGE without one source of pods or with an address that is none, and what runAgent() throws
 */
export async function agent(context: Context, given: unknown): Promise<undefined> {
  const options = v.parse(Options, given);
  if (options.backend === 'ebpf' && options.maxTier === 0) {
    throw new ShuntError(
      'SHUNT_E_USAGE',
      '--max-tier 0 leaves iptables alone, and --backend ebpf excludes it',
      {
        fix: 'leave one of the two out',
      },
    );
  }
  const metrics = options.metrics === undefined ? null : parseListenAddress(options.metrics);
  using stop = new StopSignal();
  await runAgent(
    {
      source: sourceOf(options),
      config: options.config ?? null,
      metrics,
      backend: options.backend,
      cgroup: () => options.cgroup ?? kubepodsCgroup() ?? cgroupRequired(),
      bpffs: context.bpffs,
      cniSocket: options.cniSocket ?? null,
      cniChain: chainOf(options),
      socket: context.socket,
      compile: options.compile,
      acceleration: options.acceleration === 'on',
      maxTier: options.maxTier,
      maxPods: options.maxPods,
      maxPolicies: options.maxPolicies,
      reconcileIntervalMs: options.reconcileInterval * 1000,
    },
    createLog(),
    stop.signal,
  );
}

function sourceOf({ pods, kubeconfig, nodeName, repair }: v.InferOutput<typeof Options>): PodSourceOptions {
  if (pods !== undefined && kubeconfig !== undefined) {
    throw new ShuntError('SHUNT_E_USAGE', '--pods and --kubeconfig exclude each other', {
      fix: 'give one of them: it says where the pods come from',
    });
  }
  if (pods !== undefined) return { kind: 'files', path: pods };
  if (kubeconfig === undefined) {
    throw new ShuntError(
      'SHUNT_E_USAGE',
      '--pods or --kubeconfig is needed: it says where the pods come from',
      {
        fix: 'give a file or directory of Pod manifests with --pods, or --kubeconfig FILE, or --kubeconfig in-cluster',
      },
    );
  }
  const name = nodeName ?? process.env.NODE_NAME;
  if (!name) {
    throw new ShuntError('SHUNT_E_USAGE', '--node-name is needed with --kubeconfig', {
      fix: 'give the name of this node in the cluster with --node-name, or in NODE_NAME (fieldRef spec.nodeName)',
    });
  }
  return {
    kind: 'kubernetes',
    kubeconfig: kubeconfig === 'in-cluster' ? null : kubeconfig,
    nodeName: name,
    repair,
  };
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
