/** One contender at one path: a caller, a server, and the sidecars between them. */
import { APP_PORT } from '../../lab/host.ts';
import { OUTBOUND_PORT } from '../../lab/istio.ts';
import type { Lab } from '../../lab/lab.ts';
import { cpuTimeNs, Load, pin } from '../../lab/load.ts';
import { CONTENDERS, type Contender, type Path, podsOf } from './contenders.ts';

const FIRST_PORT = 7100;
const PORTS_EACH = 10;

/**
 * Which CPUs everything of a contender may run on: all of it on one, the calling pod on one and the serving on another,
 * or wherever the kernel puts it.
 */
export const PLACEMENTS = ['one core', 'a core a pod', 'all cores'] as const;
export type Placement = (typeof PLACEMENTS)[number];

/** Open connections that one process holds; some systems give it 20,000 files. */
const HELD_EACH = 12_500;
/** Nobody is there: the server in the sidecar's place answers. Each has ports of its own at the caller. */
const nobody = (index: number): string => `192.0.2.${100 + index}`;
/** The same where nothing redirects. */
const localhost = (index: number): string => `127.0.0.${10 + index}`;

export class Lane implements AsyncDisposable {
  readonly contender: Contender;
  readonly path: Path;
  readonly #lab: Lab;
  readonly #load: Load;
  /** Of the calling end, and of the serving. */
  readonly #ends: readonly [number[], number[]];
  readonly #holders: Load[] = [];
  #held = 0;

  private constructor(
    lab: Lab,
    contender: Contender,
    path: Path,
    load: Load,
    sidecars: readonly [number | null, number | null],
  ) {
    this.contender = contender;
    this.path = path;
    this.#lab = lab;
    this.#load = load;
    const [near, far] = sidecars;
    this.#ends = [
      [load.caller.pid, ...(near === null ? [] : [near])],
      [load.server.pid, ...(far === null ? [] : [far])],
    ];
  }

  static async open(lab: Lab, contender: Contender, path: Path, signal?: AbortSignal): Promise<Lane> {
    if (path === 'sidecar' || path === 'crowd') return Lane.#inItsPlace(lab, contender, path, signal);
    const [caller, server] = podsOf(contender, path);
    const from = lab.pod(caller);
    const to = server === undefined ? null : lab.pod(server);
    // The host outside has a server for each.
    const port = FIRST_PORT + PORTS_EACH * portIndex(contender, path);
    const load = await Load.start(lab, from, to ?? lab.outside, { port, signal });
    const sidecars = [from.sidecar.pid, to?.sidecar.pid ?? null] as const;
    return new Lane(lab, contender, path, load, contender === 'direct' ? [null, null] : sidecars);
  }

  static async #inItsPlace(
    lab: Lab,
    contender: Contender,
    path: 'sidecar' | 'crowd',
    signal?: AbortSignal,
  ): Promise<Lane> {
    const [name] = podsOf(contender, path);
    const pod = lab.pod(name);
    await pod.sidecar.stop();
    const anywhere: [string, number] = [lab.outside.address(4), APP_PORT];
    const load = await Load.start(lab, pod, pod, {
      port: OUTBOUND_PORT,
      role: 'sidecar',
      dial: contender === 'direct' ? [pod.address(4), OUTBOUND_PORT] : anywhere,
      signal,
    });
    return new Lane(lab, contender, path, load, [null, null]);
  }

  /** @throws SHUNT_E_LAB_PROCESS */
  ask(command: string): Promise<number[]> {
    return this.#load.ask(command);
  }

  /** The same, with the CPU time that the caller, the server and their sidecars used, in nanoseconds. */
  async timed(command: string): Promise<{ answer: number[]; cpuNs: number }> {
    const pids = this.#ends.flat();
    const before = cpuTimeNs(pids);
    const answer = await this.ask(command);
    return { answer, cpuNs: cpuTimeNs(pids) - before };
  }

  async place(placement: Placement, cpus: readonly number[]): Promise<void> {
    const [first = 0, second = first] = cpus;
    const near = [...this.#ends[0], ...this.#holders.map(({ caller }) => caller.pid)];
    const far = [...this.#ends[1], ...this.#holders.map(({ server }) => server.pid)];
    if (placement === 'a core a pod') await Promise.all([pin(near, [first]), pin(far, [second])]);
    else await pin([...near, ...far], placement === 'one core' ? [first] : cpus);
  }

  /** Opens connections beside the one that is measured until there are so many; they stay until the end. */
  async hold(count: number, signal?: AbortSignal): Promise<void> {
    const [name] = podsOf(this.contender, this.path);
    const pod = this.#lab.pod(name);
    while (this.#held < count) {
      const index = Math.floor(this.#held / HELD_EACH);
      const holder =
        this.#holders[index] ??
        (await Load.start(this.#lab, pod, pod, {
          port: OUTBOUND_PORT,
          role: 'sidecar',
          dial: this.contender === 'direct' ? [localhost(index), OUTBOUND_PORT] : [nobody(index), APP_PORT],
          label: `holder${index}`,
          signal,
        }));
      this.#holders[index] = holder;
      const more = Math.min(count, (index + 1) * HELD_EACH) - this.#held;
      await holder.ask(`idle ${more}`);
      this.#held += more;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#load, ...this.#holders].map((load) => load[Symbol.asyncDispose]()));
  }
}

/** Every lane to the host outside has its own. */
function portIndex(contender: Contender, path: Path): number {
  const paths: Path[] = ['outside', 'rules-0', 'rules-1000', 'rules-10000'];
  return CONTENDERS.indexOf(contender) + CONTENDERS.length * Math.max(paths.indexOf(path), 0);
}
