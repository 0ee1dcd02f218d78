import { join } from 'node:path';
import { Client } from './client.ts';
import type { Argv, CommandResult } from './command.ts';
import { type InterfaceBytes, interfaceBytes } from './interfaces.ts';
import { SIDECAR_CONTAINER, SIDECAR_GID, SIDECAR_UID } from './istio.ts';
import { listening } from './listening.ts';
import { attemptAt, LabProcess, type Place } from './process.ts';
import { Sidecar, type SidecarKind } from './sidecar.ts';
import { type Netns, within } from './topology.ts';

/** Uid and gid of the applications: neither root's nor the sidecar's. */
export const APP_ID = 10_001;
export const APP_PORT = 8080;

/** Who acts: the application, the sidecar itself, or an application that took the sidecar's uid and gid. */
export type Role = 'app' | 'sidecar' | 'impostor';

/** Programs and folders that the processes of a host need; shared by a lab. */
export interface Provisions {
  node: string;
  server: string;
  client: string;
  /** Takes logs and configuration. */
  folder: string;
}

/** A network namespace with an application in it: a pod, or the host outside. */
export class Host implements AsyncDisposable {
  readonly name: string;
  readonly netns: Netns;
  protected readonly provisions: Provisions;
  readonly #stack = new AsyncDisposableStack();
  readonly #clients = new Map<Role, Promise<Client>>();
  #app: LabProcess | null = null;

  constructor(name: string, netns: Netns, provisions: Provisions) {
    this.name = name;
    this.netns = netns;
    this.provisions = provisions;
  }

  /** Where a process of this role runs. */
  place(role: Role): Place {
    const id = role === 'app' ? { uid: APP_ID, gid: APP_ID } : { uid: SIDECAR_UID, gid: SIDECAR_GID };
    return { netns: this.netns.path, ...id };
  }

  /** Pid of the application. */
  get appPid(): number {
    if (this.#app === null) throw new Error(`the application of ${this.name} was not started`);
    return this.#app.pid;
  }

  /** Starts the application (src/lab/peer/server.ts) and waits until it listens. */
  async startApp(ports: readonly number[] = [APP_PORT], signal?: AbortSignal): Promise<void> {
    const { node, server } = this.provisions;
    const argv: Argv = [node, server, this.name, ...ports.map(String)];
    this.#app = await this.start('app', 'app', argv);
    await listening(this.#app, ports, { ip6: this.netns.ip6 !== null }, signal);
  }

  /** Starts any program here; it ends with the host. */
  async start(name: string, role: Role, argv: Argv): Promise<LabProcess> {
    const label = `${name} of ${this.name}`;
    const logFile = join(this.provisions.folder, `${this.name}-${name}.log`);
    return this.#stack.use(await LabProcess.start(label, argv, { place: this.place(role), logFile }));
  }

  /** The client process of a role; started when first asked for. */
  client(role: Role = 'app'): Promise<Client> {
    const known = this.#clients.get(role);
    if (known !== undefined) return known;
    const client = this.#startClient(role);
    this.#clients.set(role, client);
    return client;
  }

  async #startClient(role: Role): Promise<Client> {
    const { node, client, folder } = this.provisions;
    const options = { place: this.place(role), logFile: join(folder, `${this.name}-client-${role}.log`) };
    return this.#stack.use(await Client.start(`client (${role}) of ${this.name}`, [node, client], options));
  }

  /** Runs a program to its end. */
  attempt(role: Role, argv: Argv, input?: string): Promise<CommandResult> {
    return attemptAt(this.place(role), argv, input);
  }

  /** What crossed its interfaces so far. */
  bytes(): InterfaceBytes {
    return interfaceBytes(this.appPid);
  }

  address(family: 4 | 6): string {
    const address = family === 4 ? this.netns.ip4 : this.netns.ip6;
    if (address === null) throw new Error(`${this.name} has no IPv6 address: this kernel has no IPv6`);
    return address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** A pod: a host with a sidecar, and a cgroup for each container. */
export class Pod extends Host {
  /** The pod's cgroup; its children are the containers'. */
  readonly cgroup: string;
  readonly sidecar: Sidecar;
  readonly #containers: { app: string; sidecar: string };

  constructor(
    name: string,
    netns: Netns,
    provisions: Provisions,
    options: {
      cgroup: string;
      containers: { app: string; sidecar: string };
      sidecar: SidecarKind;
      program: string;
      preload: string | null;
    },
  ) {
    super(name, netns, provisions);
    this.cgroup = options.cgroup;
    this.#containers = options.containers;
    this.sidecar = new Sidecar(options.sidecar, {
      pod: name,
      folder: provisions.folder,
      program: options.program,
      preload: options.preload,
      place: this.place('sidecar'),
      ip6: netns.ip6 !== null,
    });
  }

  override place(role: Role): Place {
    const cgroup = role === 'sidecar' ? this.#containers.sidecar : this.#containers.app;
    return { ...super.place(role), cgroup };
  }

  /** The command line that runs a program as the pod's application, for people to paste. */
  commandLine(argv: Argv): string {
    const { uid, gid } = this.place('app');
    const run = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...argv];
    return `sh -c 'echo $$ >${this.#containers.app}/cgroup.procs && exec ${within(this.netns, ['setpriv', ...run.slice(1)]).join(' ')}'`;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.sidecar[Symbol.asyncDispose]();
  }
}

export const CONTAINERS = { app: 'app', sidecar: SIDECAR_CONTAINER } as const;
