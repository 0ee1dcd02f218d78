import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { CgroupTree } from './cgroup.ts';
import { labSource, reachable } from './checkout.ts';
import { Claim } from './claim.ts';
import { atExit } from './exit_guard.ts';
import { APP_PORT, CONTAINERS, Host, Pod, type Provisions } from './host.ts';
import { applyIstioRules } from './iptables.ts';
import { podYaml } from './manifest.ts';
import { compile } from './native.ts';
import { SIDECARS, type SidecarKind } from './sidecar.ts';
import { Topology } from './topology.ts';

/** Istio's health port, on which the bed's applications listen too: it is excluded inbound by default. */
export const HEALTH_PORT = 15021;
/** The outside host's second port, for exclusions. */
export const OTHER_PORT = 9999;

export interface PodOptions {
  /** Without a hyphen. */
  name: string;
  /** `shunt`: nothing is done to it but a manifest written; `iptables`: Istio's rules are applied; `none`: neither. */
  capture: 'shunt' | 'iptables' | 'none';
  /** More annotations of its manifest. */
  annotations?: Readonly<Record<string, string>>;
  /** Value of excludeOutboundPorts, as annotation or as rules. */
  excludeOutboundPorts?: readonly number[];
  /** Value of excludeOutboundIPRanges, IPv4. */
  excludeOutboundCidrs?: readonly string[];
}

export interface LabOptions {
  /** Unique on the machine; names namespaces, cgroups and folders. */
  prefix: string;
  sidecar: SidecarKind;
  pods: readonly PodOptions[];
  /** Start the applications; without, sidecars alone run. */
  apps?: boolean;
  /** End the process on SIGINT, SIGTERM and SIGHUP, cleaning up; leave it out when the caller does it. */
  exitOnSignal?: boolean;
  signal?: AbortSignal | undefined;
}

/** A node with pods, sidecars and applications that really run, and one host outside it. */
export class Lab implements AsyncDisposable {
  readonly prefix: string;
  readonly outside: Host;
  readonly pods: ReadonlyMap<string, Pod>;
  /** Folder of the manifests of the pods to capture with Shunt. */
  readonly manifests: string;
  /** Cgroup above those pods: where an agent attaches. */
  readonly cgroup: string;
  /** Logs and configuration. */
  readonly folder: string;
  /** Programs made or copied for the bed; execution is allowed there. */
  readonly programs: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<Lab, 'prefix' | 'outside' | 'pods' | 'manifests' | 'cgroup' | 'folder' | 'programs'>,
    stack: AsyncDisposableStack,
  ) {
    this.prefix = parts.prefix;
    this.outside = parts.outside;
    this.pods = parts.pods;
    this.manifests = parts.manifests;
    this.cgroup = parts.cgroup;
    this.folder = parts.folder;
    this.programs = parts.programs;
    this.#stack = stack;
  }

  /**
   * Builds and starts everything; when it returns, every application and sidecar listens.
   *
   * @throws SHUNT_E_NOT_ROOT, SHUNT_E_LAB_*; whatever was made is removed first
   */
  static async open(options: LabOptions): Promise<Lab> {
    if (process.getuid?.() !== 0) throw new ShuntError('SHUNT_E_NOT_ROOT');
    const sidecar = SIDECARS[options.sidecar];
    const program = sidecar.locate();
    await using stack = new AsyncDisposableStack();

    const claim = stack.use(Claim.take(options.prefix));
    stack.use(atExit(() => claim[Symbol.dispose](), options.exitOnSignal ?? true));
    const topology = stack.use(
      await Topology.make(
        options.prefix,
        options.pods.map(({ name }) => name),
      ),
    );
    const provisions = provide(claim);
    const proxy = reachable(program, claim.programs);
    const preload6 = sidecar.preload6 !== undefined && topology.node.ip6 !== null ? sidecar.preload6 : null;
    const preload = preload6 === null ? null : await compile(preload6, claim.programs, 'shared');
    const tree = stack.use(CgroupTree.make(options.prefix));
    const baseline = stack.use(CgroupTree.make(`${options.prefix}-baseline`));
    const manifests = join(claim.folder, 'manifests');
    mkdirSync(manifests);

    const outside = stack.use(new Host('outside', topology.outside, provisions));
    const pods = new Map<string, Pod>();
    for (const { name, capture, annotations: more, ...excluded } of options.pods) {
      const { excludeOutboundPorts = [], excludeOutboundCidrs = [] } = excluded;
      const netns = topology.pods.get(name);
      if (netns === undefined) continue;
      const cgroups = capture === 'shunt' ? tree : baseline;
      const containers = {
        app: cgroups.add(`pod-${name}`, CONTAINERS.app),
        sidecar: cgroups.add(`pod-${name}`, CONTAINERS.sidecar),
      };
      const cgroup = cgroups.add(`pod-${name}`);
      const place = { cgroup, containers, sidecar: options.sidecar, program: proxy, preload };
      pods.set(name, stack.use(new Pod(name, netns, provisions, place)));
      if (capture === 'iptables') {
        await applyIstioRules(netns, { excludeOutboundPorts, excludeOutboundCidrs });
      } else if (capture === 'shunt') {
        const podIPs = [netns.ip4, ...(netns.ip6 === null ? [] : [netns.ip6])];
        const annotations: Record<string, string> = { ...sidecar.annotations, ...more };
        if (excludeOutboundPorts.length > 0) {
          annotations['traffic.sidecar.istio.io/excludeOutboundPorts'] = excludeOutboundPorts.join(',');
        }
        if (excludeOutboundCidrs.length > 0) {
          annotations['traffic.sidecar.istio.io/excludeOutboundIPRanges'] = excludeOutboundCidrs.join(',');
        }
        const yaml = podYaml({ name: `pod-${name}`, netns: netns.path, cgroup, podIPs, annotations });
        writeFileSync(join(manifests, `${name}.yaml`), yaml);
      }
    }

    const { signal, apps = true } = options;
    await Promise.all([
      ...(apps ? [outside.startApp([APP_PORT, OTHER_PORT], signal)] : []),
      ...[...pods.values()].flatMap((pod) => [
        ...(apps ? [pod.startApp([APP_PORT, HEALTH_PORT], signal)] : []),
        pod.sidecar.start(signal),
      ]),
    ]);
    const { prefix, folder, programs } = claim;
    const parts = { prefix, outside, pods, manifests, cgroup: tree.path, folder, programs };
    return new Lab(parts, stack.move());
  }

  /** A pod by name. */
  pod(name: string): Pod {
    const pod = this.pods.get(name);
    if (pod === undefined) throw new Error(`this lab has no pod ${name}`);
    return pod;
  }

  /** Ends every process of the bed, and leaves namespaces and cgroups. */
  async still(): Promise<void> {
    await Promise.all([this.outside, ...this.pods.values()].map((host) => host[Symbol.asyncDispose]()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Programs and scripts at places where the uids of the bed can read them. */
function provide(claim: Claim): Provisions {
  const script = (name: string): string => {
    const copy = join(claim.folder, `${name}.mts`);
    copyFileSync(labSource('peer', `${name}.ts`), copy);
    return copy;
  };
  return {
    node: reachable(process.execPath, claim.programs),
    server: script('server'),
    client: script('client'),
    folder: claim.folder,
  };
}
