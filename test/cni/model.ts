/** What is to be true after any sequence of calls and crashes, said in as few words as can be. */

export interface Sandbox {
  container: string;
  pod: string;
  netns: bigint;
}

export class Model {
  /** In the order of their ADDs. */
  readonly attachments: Sandbox[];
  readonly held: Map<string, bigint>;

  constructor(attachments: Sandbox[] = [], held: Map<string, bigint> = new Map()) {
    this.attachments = attachments;
    this.held = held;
  }

  copy(): Model {
    return new Model([...this.attachments], new Map(this.held));
  }

  /** The code of the answer; null as namespace is one that does not exist. */
  add(sandbox: Omit<Sandbox, 'netns'> & { netns: bigint | null }, kind: PodKind): number {
    const { container, pod, netns } = sandbox;
    if (kind === 'unknown') return 11;
    if (netns === null) return 4;
    if (kind === 'meshed') {
      if ([...this.held].some(([other, cookie]) => other !== pod && cookie === netns)) return 100;
      this.held.set(pod, netns);
    }
    this.#forget(container);
    this.attachments.push({ container, pod, netns });
    return 0;
  }

  del(container: string): void {
    const gone = this.#forget(container);
    if (gone === undefined) return;
    const { pod, netns } = gone;
    if (this.attachments.some((other) => other.pod === pod && other.netns === netns)) return;
    if (this.held.get(pod) === netns) this.held.delete(pod);
  }

  check({ container, pod, netns }: Omit<Sandbox, 'netns'> & { netns: bigint | null }, kind: PodKind): number {
    if (netns === null) return 4;
    const known = this.attachments.some((each) => each.container === container && each.netns === netns);
    const right = kind === 'unmeshed' || this.held.get(pod) === netns;
    return known && right ? 0 : 101;
  }

  gc(valid: readonly string[]): void {
    for (const { container } of [...this.attachments]) if (!valid.includes(container)) this.del(container);
  }

  /** An agent that starts anew, and one that looks over everything, know each pod by its last sandbox that is there. */
  reconcile(isThere: (netns: bigint) => boolean, isMeshed: (pod: string) => boolean): void {
    const there = this.attachments.filter(({ netns }) => isThere(netns));
    this.attachments.splice(0, this.attachments.length, ...there);
    for (const [pod, netns] of this.held) if (!isThere(netns)) this.held.delete(pod);
    for (const { pod, netns } of there) if (isMeshed(pod)) this.held.set(pod, netns);
  }

  #forget(container: string): Sandbox | undefined {
    const at = this.attachments.findIndex((each) => each.container === container);
    return at < 0 ? undefined : this.attachments.splice(at, 1)[0];
  }
}

export type PodKind = 'meshed' | 'unmeshed' | 'unknown';
