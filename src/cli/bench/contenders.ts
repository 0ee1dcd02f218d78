/** What is compared: pairs of pods of one lab, captured each in its own way. */
import { HAPROXY } from '../../lab/haproxy.ts';
import { APP_PORT } from '../../lab/host.ts';
import { OUTBOUND_PORT } from '../../lab/istio.ts';
import { Lab } from '../../lab/lab.ts';
import { cpuTimeNs, Load, pin } from '../../lab/load.ts';
import type { SidecarKind } from '../../lab/sidecar.ts';

/** In the order of the tables. `redirect` is Shunt without acceleration. */
export const CONTENDERS = ['direct', 'iptables', 'redirect', 'accelerated'] as const;
export type Contender = (typeof CONTENDERS)[number];

/**
 * Where connections lead: through both sidecars to a pod of the same node, through one to a host outside, or to a
 * server in the sidecar's place, which answers by itself.
 */
export const PATHS = ['pod', 'outside', 'sidecar'] as const;
export type Path = (typeof PATHS)[number];

const FIRST_PORT = 7100;

/** Which CPUs everything of a contender may run on. */
export const PLACEMENTS = ['one core', 'all cores'] as const;
export type Placement = (typeof PLACEMENTS)[number];

const POD: Record<
  Contender,
  { capture: 'shunt' | 'iptables' | 'none'; annotations?: Record<string, string> }
> = {
  direct: { capture: 'none' },
  iptables: { capture: 'iptables' },
  redirect: { capture: 'shunt', annotations: { 'shunt.dev/acceleration': 'off' } },
  accelerated: { capture: 'shunt' },
};

/** The two pods of a pair, and one whose sidecar is the server itself. */
const ENDS = ['1', '2', 'h'] as const;

/** Short enough for the name of the bridge's port to it. */
function podName(contender: Contender, end: (typeof ENDS)[number]): string {
  return `${contender.slice(0, 8)}${end}`;
}

/** A lab with the pods of every contender that these paths need. */
export function openLab(
  prefix: string,
  options: { sidecar: SidecarKind; contenders: readonly Contender[]; paths: ReadonlySet<Path> },
  signal?: AbortSignal,
): Promise<Lab> {
  const { sidecar, contenders, paths } = options;
  const ends = ENDS.filter((end) => end !== 'h' || paths.has('sidecar'));
  const pods = contenders.flatMap((contender) =>
    ends.map((end) => ({ name: podName(contender, end), ...POD[contender] })),
  );
  return Lab.open({ prefix, sidecar, pods, apps: false, exitOnSignal: false, signal });
}

/** One contender at one path: a caller, a server, and the sidecars between them. */
export class Lane implements AsyncDisposable {
  readonly contender: Contender;
  readonly path: Path;
  readonly #load: Load;
  readonly #pids: readonly number[];

  private constructor(contender: Contender, path: Path, load: Load, pids: readonly number[]) {
    this.contender = contender;
    this.path = path;
    this.#load = load;
    this.#pids = pids;
  }

  static async open(lab: Lab, contender: Contender, path: Path, signal?: AbortSignal): Promise<Lane> {
    const [from, near] = [lab.pod(podName(contender, '1')), lab.pod(podName(contender, '2'))];
    if (path === 'sidecar') return Lane.#hop(lab, contender, signal);
    // The host outside has a server for each.
    const port = FIRST_PORT + 10 * CONTENDERS.indexOf(contender);
    const load = await Load.start(lab, from, path === 'pod' ? near : lab.outside, { port, signal });
    const sidecars =
      contender === 'direct' ? [] : [from.sidecar.pid, path === 'pod' ? near.sidecar.pid : null];
    const pids = [load.caller.pid, load.server.pid, ...sidecars.filter((pid) => pid !== null)];
    return new Lane(contender, path, load, pids);
  }

  static async #hop(lab: Lab, contender: Contender, signal?: AbortSignal): Promise<Lane> {
    const pod = lab.pod(podName(contender, 'h'));
    await pod.sidecar.stop();
    const anywhere: [string, number] = [lab.outside.address(4), APP_PORT];
    const load = await Load.start(lab, pod, pod, {
      port: OUTBOUND_PORT,
      role: 'sidecar',
      dial: contender === 'direct' ? [pod.address(4), OUTBOUND_PORT] : anywhere,
      signal,
    });
    return new Lane(contender, 'sidecar', load, [load.caller.pid, load.server.pid]);
  }

  /** @throws SHUNT_E_LAB_PROCESS */
  ask(command: string): Promise<number[]> {
    return this.#load.ask(command);
  }

  /** The same, with the CPU time that the caller, the server and their sidecars used, in nanoseconds. */
  async timed(command: string): Promise<{ answer: number[]; cpuNs: number }> {
    const before = cpuTimeNs(this.#pids);
    const answer = await this.ask(command);
    return { answer, cpuNs: cpuTimeNs(this.#pids) - before };
  }

  async place(placement: Placement, cpus: readonly number[]): Promise<void> {
    await pin(this.#pids, placement === 'one core' ? cpus.slice(0, 1) : cpus);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#load[Symbol.asyncDispose]();
  }
}

/** The lightest proxy there is, so that what carries the bytes shows. */
export const LIGHT_SIDECAR = HAPROXY.kind;
