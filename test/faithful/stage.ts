/** Where an item plays: one pod, and the host outside, with processes that live as long as the item. */
import { join } from 'node:path';
import { run } from '../../src/lab/command.ts';
import { type Netns, within } from '../../src/lab/topology.ts';
import { Observation } from './observation.ts';
import { Puppet } from './puppet.ts';

export type Contender = 'plain' | 'iptables' | 'ebpf';
export type Family = 4 | 6;

/** Ports. `excluded` and `excludedInbound` are so by the policy (test/conformance/pods/istio.yaml). */
export const PORT = {
  app: 8080,
  excluded: 3306,
  excludedInbound: 9000,
  /** Of the outside host: greets, and closes first. */
  brief: 8081,
  outbound: 15001,
  inbound: 15006,
  /** Sixteen in a row, on which the host outside listens. */
  many: 20_000,
};
export const MANY_PORTS = 16;
/** Blocks all of whose addresses are the outside host's: RFC 2544, and of RFC 3849. */
export const ANYWHERE = { 4: '198.18.', 6: '2001:db8:18::' };
export const ANYWHERE_BLOCK = { 4: '198.18.0.0/15', 6: '2001:db8:18::/64' };
export const ANY = { 4: '0.0.0.0', 6: '::' } as const;

const SIDECAR_ID = 1337;
const APP_ID = 1000;

/** Thrown by an item for which this machine lacks something. */
export class Unavailable extends Error {}

export interface Surroundings {
  contender: Contender;
  pod: Netns;
  outside: Netns;
  node: Netns;
  program: string;
  folder: string;
  /** Path of a container's cgroup in the pod. */
  cgroup(container: string): string;
  /** Turns redirection on and off for the pod; nothing for the plain one. */
  enroll(): Promise<void>;
  withdraw(): Promise<void>;
}

export class Stage implements AsyncDisposable {
  readonly contender: Contender;
  readonly families: readonly Family[];
  readonly observation: Observation;
  readonly #around: Surroundings;
  readonly #stack = new AsyncDisposableStack();

  constructor(around: Surroundings) {
    const { pod, outside, node } = around;
    this.contender = around.contender;
    this.families = pod.ip6 === null ? [4] : [4, 6];
    this.observation = new Observation(
      [
        [pod.ip4, 'pod'],
        [pod.ip6 ?? '', 'pod6'],
        [outside.ip4, 'far'],
        [outside.ip6 ?? '', 'far6'],
        [node.ip4, 'node'],
        [node.ip6 ?? '', 'node6'],
      ].flatMap(([address = '', name = '']) => (address === '' ? [] : [[address, name] as const])),
    );
    this.#around = around;
  }

  get redirects(): boolean {
    return this.contender !== 'plain';
  }

  pod(family: Family): string {
    return addressOf(this.#around.pod, family);
  }

  far(family: Family): string {
    return addressOf(this.#around.outside, family);
  }

  /** Where nothing listens and nothing drops: refuses what is not redirected. */
  node(family: Family): string {
    return addressOf(this.#around.node, family);
  }

  /** A process of the application's container. */
  app(name = 'app', id = APP_ID): Promise<Puppet> {
    return this.#puppet(name, { netns: this.#around.pod.path, container: 'app', id });
  }

  /** A process of the sidecar's container that does nothing yet. */
  proxy(name = 'sidecar'): Promise<Puppet> {
    return this.#puppet(name, { netns: this.#around.pod.path, container: 'sidecar', id: SIDECAR_ID });
  }

  outsider(name = 'outsider'): Promise<Puppet> {
    return this.#puppet(name, { netns: this.#around.outside.path, container: null, id: 0 });
  }

  /** A sidecar as meshes run them: a listener a family on either port, which greet and echo. */
  async sidecar(
    options: { name?: string; brief?: boolean; sockets?: Record<string, number> } = {},
  ): Promise<Puppet> {
    const { name = 'sidecar', brief = false, sockets = {} } = options;
    const puppet = await this.proxy(name);
    for (const family of this.families) {
      for (const port of [PORT.outbound, PORT.inbound]) {
        const server = { name: `${name}:${port}`, family, host: ANY[family], port };
        await puppet.serve({ ...server, brief, options: sockets });
      }
    }
    return puppet;
  }

  /** An application that listens. */
  async server(ports: readonly number[] = [PORT.app, PORT.excludedInbound]): Promise<Puppet> {
    const puppet = await this.app('server');
    for (const family of this.families) {
      for (const port of ports) await puppet.serve({ name: `app:${port}`, family, host: ANY[family], port });
    }
    return puppet;
  }

  /** Sets a kernel parameter of the pod's namespace until the item ends. */
  async sysctl(name: string, value: string | number): Promise<void> {
    const file = `/proc/sys/${name}`;
    const { pod } = this.#around;
    const read = await run(within(pod, ['cat', file])).catch(() => {
      throw new Unavailable(`the kernel has no ${name}`);
    });
    const write = async (text: string) =>
      void (await run(within(pod, ['sh', '-c', 'echo "$2" >"$1"', 'sh', file, text])));
    await write(String(value));
    this.#stack.defer(() => write(read.trim()));
  }

  /** Does the work, and tells how often the pod's kernel counted something meanwhile (names of /proc/net/netstat). */
  async counted(names: readonly string[], work: () => Promise<void>): Promise<void> {
    const read = async () => netstatOf(await run(within(this.#around.pod, ['cat', '/proc/net/netstat'])));
    const before = await read();
    await work();
    const after = await read();
    for (const name of names) {
      const [then, now] = [before.get(name), after.get(name)];
      if (then === undefined || now === undefined) throw new Error(`the kernel does not count ${name}`);
      this.observation.note(name, now - then);
    }
  }

  async enroll(): Promise<void> {
    await this.#around.enroll();
  }

  /** Takes the redirection away; it is back when the item ends. */
  async withdraw(): Promise<void> {
    this.#stack.defer(() => this.#around.enroll());
    await this.#around.withdraw();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  async #puppet(
    name: string,
    { netns, container, id }: { netns: string; container: string | null; id: number },
  ): Promise<Puppet> {
    const { program, folder, contender } = this.#around;
    const cgroup = container === null ? {} : { cgroup: this.#around.cgroup(container) };
    const puppet = await Puppet.start(name, program, {
      place: { netns, uid: id, gid: id, ...cgroup },
      logFile: join(folder, `${contender}.log`),
      record: (call, words, reply) => this.observation.add(name, call, words, reply),
    });
    return this.#stack.use(puppet);
  }
}

function addressOf(netns: Netns, family: Family): string {
  const address = family === 4 ? netns.ip4 : netns.ip6;
  if (address === null) throw new Error(`no IPv${family} here`);
  return address;
}

/** Lines in pairs: a name for each column, and below it a number. */
function netstatOf(text: string): Map<string, number> {
  const rows = text.split('\n').map((line) => line.split(' '));
  return new Map(
    rows.flatMap((names, index) =>
      index % 2 === 1 ? [] : names.map((name, column) => [name, Number(rows[index + 1]?.[column])] as const),
    ),
  );
}
