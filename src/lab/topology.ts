import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { type Argv, attempt, run } from './command.ts';

const NETNS_DIR = '/run/netns';
const POD_GATEWAY = { ip4: '10.88.0.1', ip6: 'fd88::1' };
const OUTSIDE_GATEWAY = { ip4: '192.0.2.1', ip6: '2001:db8:2::1' };
/** A host beyond the node: documentation addresses of RFC 5737 and RFC 3849. */
export const OUTSIDE = { ip4: '192.0.2.2', ip6: '2001:db8:2::2' };
/** Istio's passthrough source for IPv6; it has to stand on lo, where 127.0.0.6 needs nothing. */
const PASSTHROUGH_SOURCE_6 = '::6/128';

export interface Addresses {
  ip4: string;
  /** Null on a kernel without IPv6. */
  ip6: string | null;
}

/** One network namespace of the bed. */
export interface Netns extends Addresses {
  /** Name under /run/netns. */
  name: string;
  path: string;
}

/** The kernel has IPv6. */
export function hasIpv6(): boolean {
  return existsSync('/proc/sys/net/ipv6');
}

/** Address of the nth pod, counted from 0. */
export function podAddresses(index: number): Addresses {
  return { ip4: `10.88.0.${10 + index}`, ip6: hasIpv6() ? `fd88::${(10 + index).toString(16)}` : null };
}

/**
 * Network namespaces of a node: its pods on a bridge, an outside host behind a router, and the node between
 * them, which alone forwards. Nothing is made in the caller's own namespace.
 */
export class Topology implements AsyncDisposable {
  readonly prefix: string;
  readonly node: Netns;
  readonly outside: Netns;
  readonly pods: ReadonlyMap<string, Netns>;

  private constructor(prefix: string, pods: readonly string[]) {
    const v6 = hasIpv6();
    const at = (name: string, addresses: Addresses): Netns => ({
      name: `${prefix}-${name}`,
      path: `${NETNS_DIR}/${prefix}-${name}`,
      ...addresses,
    });
    this.prefix = prefix;
    this.node = at('node', { ip4: POD_GATEWAY.ip4, ip6: v6 ? POD_GATEWAY.ip6 : null });
    this.outside = at('out', { ip4: OUTSIDE.ip4, ip6: v6 ? OUTSIDE.ip6 : null });
    this.pods = new Map(pods.map((name, index) => [name, at(name, podAddresses(index))]));
  }

  /**
   * @param pods names of the pods, in the order of their addresses
   * @throws SHUNT_E_LAB_COMMAND when a namespace or link cannot be made; what was made is removed first
   */
  static async make(prefix: string, pods: readonly string[]): Promise<Topology> {
    const topology = new Topology(prefix, pods);
    try {
      await topology.#build();
    } catch (error) {
      await topology[Symbol.asyncDispose]();
      throw error;
    }
    return topology;
  }

  get #all(): Netns[] {
    return [this.node, this.outside, ...this.pods.values()];
  }

  async #build(): Promise<void> {
    await batch(
      null,
      this.#all.map(({ name }) => `netns add ${name}`),
    );
    // Before any link: addresses of either family are then usable at once, and the node forwards.
    await Promise.all(this.#all.map((netns) => settle(netns, netns === this.node)));
    await batch(this.node, nodeScript(this.node, this.outside, [...this.pods]));
    await Promise.all([
      batch(this.outside, endScript(this.outside, OUTSIDE_GATEWAY)),
      ...[...this.pods.values()].map((pod) =>
        batch(pod, [
          ...endScript(pod, POD_GATEWAY),
          ...(pod.ip6 === null ? [] : [`addr add ${PASSTHROUGH_SOURCE_6} dev lo nodad`]),
        ]),
      ),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeNetns(this.#all.map(({ name }) => name));
  }
}

/** Names under /run/netns that a lab of this prefix made: a host's own name has no hyphen. */
export function netnsOf(prefix: string): string[] {
  if (!existsSync(NETNS_DIR)) return [];
  return readdirSync(NETNS_DIR).filter((name) => name.replace(/-[^-]+$/, '') === prefix);
}

/** Removes named namespaces; one that is gone already is no error. */
export async function removeNetns(names: readonly string[]): Promise<void> {
  const present = names.filter((name) => existsSync(`${NETNS_DIR}/${name}`));
  if (present.length > 0)
    await attempt(['ip', '-force', '-batch', '-'], lines(present.map((n) => `netns del ${n}`)));
}

/** The same at once, for the end of a process. */
export function removeNetnsNow(names: readonly string[]): void {
  if (names.length === 0) return;
  spawnSync('ip', ['-force', '-batch', '-'], { input: lines(names.map((name) => `netns del ${name}`)) });
}

function nodeScript(node: Netns, outside: Netns, pods: [string, Netns][]): string[] {
  const script = ['link set lo up', 'link add pods type bridge', 'link set pods up'];
  script.push(`addr add ${POD_GATEWAY.ip4}/24 dev pods`);
  if (node.ip6 !== null) script.push(`addr add ${POD_GATEWAY.ip6}/64 dev pods nodad`);
  for (const [name, pod] of pods) {
    const port = `pod-${name}`;
    script.push(`link add ${port} type veth peer name eth0 netns ${pod.name}`);
    script.push(`link set ${port} master pods up`);
  }
  script.push(`link add outside type veth peer name eth0 netns ${outside.name}`, 'link set outside up');
  script.push(`addr add ${OUTSIDE_GATEWAY.ip4}/24 dev outside`);
  if (node.ip6 !== null) script.push(`addr add ${OUTSIDE_GATEWAY.ip6}/64 dev outside nodad`);
  return script;
}

function endScript(end: Netns, gateway: { ip4: string; ip6: string }): string[] {
  const script = ['link set lo up', 'link set eth0 up', `addr add ${end.ip4}/24 dev eth0`];
  script.push(`route add default via ${gateway.ip4}`);
  if (end.ip6 !== null) {
    script.push(`addr add ${end.ip6}/64 dev eth0 nodad`, `route add default via ${gateway.ip6}`);
  }
  return script;
}

/** /proc/sys/net shows the namespace of whoever opens it, so it is written from inside. */
async function settle(netns: Netns, forwards: boolean): Promise<void> {
  const settings: [string, string][] = [];
  if (forwards) settings.push(['ipv4/ip_forward', '1']);
  if (netns.ip6 !== null) {
    settings.push(['ipv6/conf/all/disable_ipv6', '0'], ['ipv6/conf/default/disable_ipv6', '0']);
    settings.push(['ipv6/conf/default/accept_dad', '0'], ['ipv6/conf/default/accept_ra', '0']);
    if (forwards) settings.push(['ipv6/conf/all/forwarding', '1']);
  }
  if (settings.length === 0) return;
  const script = 'while [ $# -gt 0 ]; do echo "$2" >"/proc/sys/net/$1" || exit 1; shift 2; done';
  await run(within(netns, ['sh', '-c', script, 'sh', ...settings.flat()]));
}

/** The command, run inside a namespace. nsenter and not `ip netns exec`, which would hide /sys/fs/cgroup. */
export function within(netns: Pick<Netns, 'path'>, argv: Argv): Argv {
  return ['nsenter', `--net=${netns.path}`, ...argv];
}

async function batch(netns: Netns | null, script: string[]): Promise<void> {
  const where = netns === null ? [] : ['-n', netns.name];
  await run(['ip', ...where, '-batch', '-'], lines(script));
}

function lines(script: string[]): string {
  return `${script.join('\n')}\n`;
}
