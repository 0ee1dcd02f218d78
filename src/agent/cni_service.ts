/** The agent's side of CNI: what it remembers of sandboxes, and the server that hears of them. */
import { Attachments } from '../cni/attachments.ts';
import { keepInstalled, setUninstalled } from '../cni/installation_watch.ts';
import { CniInstaller } from '../cni/installer.ts';
import { LeftMarks } from '../cni/left_marks.ts';
import { builtPlugin, pluginEntry } from '../cni/plugin_entry.ts';
import { recordDirectories } from '../cni/records.ts';
import { type CniLog, type CniServerOptions, serveCni } from '../cni/server.ts';
import type { Locator } from '../pod/locate.ts';
import type { SocketServer } from '../unix_socket.ts';
import { CniEnrolment, locatorBeside } from './cni_enrolment.ts';
import { LatestPods } from './pod_finder.ts';
import type { Reconciler } from './reconciler.ts';

/** Less than the plugin's own deadline (15 s), so that the answer says why. */
const FIND_TIMEOUT_MS = 10_000;

export interface CniServiceOptions {
  reconciler: Reconciler;
  /** What keeps ADD from being served, one sentence each. */
  hindrances(): string[];
  /** Brings on a pass over everything; not awaited. */
  reconcileSoon(): void;
  served: NonNullable<CniServerOptions['served']>;
  signal: AbortSignal;
  log: CniLog;
}

/** The chain that the plugin is kept in. */
export interface CniChain {
  /** Of the runtime's network configurations. */
  netDir: string;
  /** Of CNI plugins. */
  binDir: string;
  /** `NAMESPACE/PREFIX` of the agent's own pods; null where they have the host's network. */
  ownPods: string | null;
}

export class CniService {
  /** Where ADD asks for a pod; told of each snapshot of the source. */
  readonly finder = new LatestPods();
  readonly #socket: string;
  readonly #attachments: Attachments;
  readonly #marks: LeftMarks;

  /** @param socket its directory also takes `attachments` and `left`, so it is to be gone after a reboot */
  constructor(socket: string) {
    this.#socket = socket;
    const { attachments, left } = recordDirectories(socket);
    this.#attachments = new Attachments(attachments);
    this.#marks = new LeftMarks(left);
  }

  /** Finds pods where ADD said that they are, and the others as `source` does. */
  locatorBeside(source: Locator): Locator {
    return locatorBeside(this.#attachments, source);
  }

  /** After each pass: the plugin is told who may pass without an agent, and sandboxes that are gone are forgotten. */
  passed(reconciler: Reconciler): void {
    this.#marks.set(reconciler.left());
    this.#attachments.forgetGone();
  }

  /** Puts the plugin into the chain and keeps it there, until the signal or `shunt cni uninstall`. */
  async keepInstalled(
    { netDir, binDir, ownPods }: CniChain,
    { namespaces, signal, log }: { namespaces(): readonly string[]; signal: AbortSignal; log: CniLog },
  ): Promise<void> {
    setUninstalled(this.#socket, false);
    const installer = new CniInstaller({ netDir, binDir, program: builtPlugin() });
    const entry = () => pluginEntry({ socket: this.#socket, namespaces: namespaces(), ownPods });
    await keepInstalled({ installer, netDir, entry, signal, log });
  }

  serve({ reconciler, hindrances, reconcileSoon, ...server }: CniServiceOptions): Promise<SocketServer> {
    const handlers = new CniEnrolment({
      enroller: reconciler,
      finder: this.finder,
      attachments: this.#attachments,
      hindrances,
      reconcileSoon,
      findTimeoutMs: FIND_TIMEOUT_MS,
    });
    return serveCni({ socket: this.#socket, handlers, ...server });
  }
}
