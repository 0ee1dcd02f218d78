/** One node for the random test: the real server, enrolment, records and reconciler over a data plane. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import * as v from 'valibot';
import { CniEnrolment, locatorBeside } from '../../src/agent/cni_enrolment.ts';
import { LatestPods } from '../../src/agent/pod_finder.ts';
import { Reconciler } from '../../src/agent/reconciler.ts';
import { Attachments } from '../../src/cni/attachments.ts';
import { callText } from '../../src/cni/protocol.ts';
import { serveCni } from '../../src/cni/server.ts';
import type { Datapath, HeldPod } from '../../src/datapath/interface.ts';
import { BY_ANNOTATION } from '../../src/pod/locate.ts';
import type { PodObject, Workload } from '../../src/pod/workload.ts';
import type { SocketServer } from '../../src/unix_socket.ts';

const silent = pino({ level: 'silent' });

/** What outlives an agent: the kernel's side of the data plane. */
export interface Kernel {
  /** A data plane as a newly started agent has it. */
  start(): Promise<Datapath>;
  /** Network namespaces whose pods are in force. */
  held(): bigint[];
  isThere(cookie: bigint): boolean;
  /** Returns once a namespace that was taken away has ended, which the kernel does when it comes to it. */
  ended(cookie: bigint): Promise<void>;
}

/** A data plane in memory. */
export class FakeKernel implements Kernel {
  readonly #pods = new Map<bigint, Workload>();
  readonly isThere: (cookie: bigint) => boolean;

  constructor(isThere: (cookie: bigint) => boolean) {
    this.isThere = isThere;
  }

  held(): bigint[] {
    return [...this.#pods.keys()];
  }

  async ended(): Promise<void> {}

  async start(): Promise<Datapath> {
    const pods = this.#pods;
    const heldPod = (cookie: bigint): HeldPod => ({
      ...{ cookie, ip4: null, ip6: null, inbound: true, acceleration: 'off' },
      ...{ listeners: { ip4: 0, ip6: 0 }, counters: {} },
    });
    return {
      backend: 'ebpf',
      adopted: { links: 0, pods: pods.size },
      enroll: async (workload) => void pods.set(workload.netns.cookie, workload),
      withdraw: async (cookie) => void pods.delete(cookie),
      drift: async ({ netns }) => (pods.has(netns.cookie) ? [] : ['not held']),
      repair: async () => [],
      isEnrolled: (cookie) => pods.has(cookie),
      isGone: (cookie) => pods.has(cookie) && !this.isThere(cookie),
      recapture: () => 0,
      forget: () => {},
      cookies: () => [...pods.keys()],
      pods: () => [...pods.keys()].map(heldPod),
      links: () => [],
      maps: () => [],
      others: () => [],
      obstacles: () => [],
      counters: () => ({}),
      acceleration: () => ({ enabled: false, reason: '' }),
      setAcceleration: () => {},
      events: async function* () {},
      [Symbol.dispose]() {},
    };
  }
}

const OnRecord = v.object({
  containerId: v.string(),
  netns: v.object({ cookie: v.string() }),
  serial: v.number(),
});

export interface Called {
  variables: Record<string, string>;
  stdin: string;
}

export class World implements AsyncDisposable {
  readonly kernel: Kernel;
  readonly #pods: readonly PodObject[];
  readonly #folder = mkdtempSync(join(tmpdir(), 'shunt-world-'));
  #server: SocketServer | null = null;
  #stop = new AbortController();
  #reconciler: Reconciler | null = null;
  #datapath: Datapath | null = null;
  #attachments: Attachments | null = null;
  #working = 0;

  constructor(kernel: Kernel, pods: readonly PodObject[]) {
    this.kernel = kernel;
    this.#pods = pods;
  }

  get #socket(): string {
    return join(this.#folder, 'cni.sock');
  }

  async start(): Promise<void> {
    this.#stop = new AbortController();
    const datapath = await this.kernel.start();
    const attachments = new Attachments(join(this.#folder, 'attachments'));
    const finder = new LatestPods();
    finder.update(this.#pods);
    const reconciler = new Reconciler(
      { ebpf: datapath, iptables: null, wish: 'ebpf', reason: '' },
      silent,
      () => ({}),
      null,
      locatorBeside(attachments, BY_ANNOTATION),
    );
    this.#datapath = datapath;
    this.#attachments = attachments;
    this.#reconciler = reconciler;
    await this.reconcile();
    const enrolment = new CniEnrolment({
      enroller: reconciler,
      finder,
      attachments,
      hindrances: () => [],
      reconcileSoon: () => {},
      findTimeoutMs: 1,
    });
    const counted =
      <A extends unknown[]>(work: (...args: A) => Promise<void>) =>
      async (...args: A) => {
        this.#working++;
        await work(...args).finally(() => this.#working--);
      };
    this.#server = await serveCni({
      socket: this.#socket,
      signal: this.#stop.signal,
      log: silent,
      handlers: {
        add: counted((...args) => enrolment.add(...args)),
        del: counted((...args) => enrolment.del(...args)),
        check: counted((...args) => enrolment.check(...args)),
        gc: counted((...args) => enrolment.gc(...args)),
        status: () => enrolment.status(),
      },
    });
  }

  /** Two passes, as time brings them: the first takes out what is gone, the second finds what that uncovered. */
  async reconcile(): Promise<void> {
    const snapshot = { pods: this.#pods.map((pod) => ({ pod, file: 'pods' })), rejected: [] };
    for (let pass = 0; pass < 2; pass++) {
      await this.#reconciler?.reconcile(snapshot);
      this.#attachments?.forgetGone();
    }
  }

  /** Ends the agent as SIGKILL would, as far as one process can: calls are broken off, nothing is taken down. */
  async crash(): Promise<void> {
    this.#stop.abort();
    await this.#server?.closed;
    await this.#reconciler?.idle();
    while (this.#working > 0) await new Promise((resolve) => setImmediate(resolve));
    this.#datapath?.[Symbol.dispose]();
  }

  /** One call to its end: the code of its answer. */
  async call({ variables, stdin }: Called): Promise<number> {
    const socket = connect(this.#socket);
    socket.write(callText(variables, stdin));
    const answer = await text(socket);
    const code = /^SHUNT-CNI 1 (\d+) /.exec(answer)?.[1];
    if (code === undefined) throw new Error(`no answer: ${answer}`);
    return Number(code);
  }

  /** A plugin that is killed: after `bytes` of its call, or when all of it is sent. Resolves when the agent is at rest. */
  async breakOff({ variables, stdin }: Called, bytes: number): Promise<void> {
    const socket = connect(this.#socket);
    socket.on('error', () => {});
    const whole = Buffer.from(callText(variables, stdin));
    await new Promise<void>((resolve) => socket.write(whole.subarray(0, bytes), () => resolve()));
    socket.destroy();
    await this.call({ variables: { CNI_COMMAND: 'STATUS' }, stdin: '{"cniVersion":"1.1.0","name":"net"}' });
    while (this.#working > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Sandboxes on record, in the order of their ADDs. */
  recorded(): { container: string; netns: bigint }[] {
    const folder = join(this.#folder, 'attachments');
    return readdirSync(folder)
      .map((name) => v.parse(OnRecord, JSON.parse(readFileSync(join(folder, name), 'utf8'))))
      .sort((a, b) => a.serial - b.serial)
      .map(({ containerId, netns }) => ({ container: containerId, netns: BigInt(netns.cookie) }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.crash();
    rmSync(this.#folder, { recursive: true });
  }
}
