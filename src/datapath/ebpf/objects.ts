/**
 * Loads the compiled objects over one set of pinned maps. The first load makes and pins the maps; a later one, after a
 * restart or an upgrade, finds them and goes on with what they hold.
 */
import { existsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BpfError, BpfMap, codec, openPinnedMap } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { loadError } from './failure.ts';
import {
  accelerate,
  connect,
  cookie,
  dns,
  inbound,
  listen,
  MetaCodec,
  sockops,
  sockopsBtf,
  sockopsRole,
  sockopt,
} from './gen/objects.ts';
import type { Pins } from './pins.ts';

/** SHUNT_LAYOUT_VERSION of bpf/layout.h: what a pinned map must have been made by. */
export const LAYOUT_VERSION = 4;

/** Room in the maps, from the node's size. */
export interface Sizes {
  pods: number;
  policies: number;
  /** Ports, CIDRs and ids over all policies, each. */
  rules: number;
  /** Handshakes in flight. */
  handshakes: number;
  /** Connections that may be accelerated at once. */
  connections: number;
}

export const DEFAULT_SIZES: Sizes = {
  pods: 512,
  policies: 512,
  rules: 131_072,
  handshakes: 16_384,
  connections: 65_536,
};

/** Entries per pod: one listener slot set for each family (SHUNT_LISTENER_SLOTS), and its addresses, twice. */
const LISTENERS_PER_POD = 32;
const ADDRESSES_PER_POD = 16;
const FAMILIES = 2;

/** Maps that live and end with the agent, or with the program that has them. */
const PRIVATE: ReadonlySet<string> = new Set(['shunt_cookie', 'shunt_budgets', 'shunt_served']);

function capacities(sizes: Sizes): Record<string, number> {
  return {
    shunt_pods: sizes.pods,
    // And one for the sums of pods that are gone.
    shunt_counters: sizes.pods + 1,
    shunt_addrs: sizes.pods * ADDRESSES_PER_POD,
    shunt_listeners: sizes.pods * LISTENERS_PER_POD,
    shunt_policies: sizes.policies,
    shunt_ports: sizes.rules,
    shunt_cidrs: sizes.rules,
    shunt_ids: sizes.rules,
    shunt_targets: sizes.pods * FAMILIES,
    shunt_pairs: sizes.handshakes,
    shunt_offers: sizes.handshakes,
    shunt_peers: sizes.connections,
    shunt_flows: sizes.connections,
    shunt_socks: sizes.connections,
    shunt_budgets: sizes.pods,
  };
}

type Definition =
  | typeof connect
  | typeof dns
  | typeof listen
  | typeof sockops
  | typeof sockopsBtf
  | typeof sockopsRole
  | typeof sockopt
  | typeof inbound
  | typeof accelerate
  | typeof cookie;
type Opened<D extends Definition> = ReturnType<D['open']>;
type Loaded<D extends Definition> = Awaited<ReturnType<Opened<D>['load']>>;

export type InboundObject = Loaded<typeof inbound>;
export type CookieObject = Loaded<typeof cookie>;
export type AccelerateObject = Loaded<typeof accelerate>;

/** Every object that is loaded once for the node. */
export interface NodeObjects extends Disposable {
  connect: Loaded<typeof connect>;
  dns: Loaded<typeof dns>;
  listen: Loaded<typeof listen>;
  sockops: Loaded<typeof sockops> | Loaded<typeof sockopsBtf> | Loaded<typeof sockopsRole>;
  sockopt: Loaded<typeof sockopt>;
}

export class Objects {
  readonly #directory: string;
  readonly #pins: Pins | null;
  readonly #capacities = new Map<string, number>();
  readonly #sizes: Sizes;

  /**
   * @param directory of the compiled *.bpf.o files
   * @param pins null to try them: each object has maps of its own then, which go with it
   */
  constructor(directory: string, pins: Pins | null, sizes: Sizes) {
    this.#directory = directory;
    this.#pins = pins;
    this.#sizes = sizes;
  }

  /**
   * Loads what every pod shares. When one of them fails, maps that this call pinned are unpinned again; those that were
   * there before stay as they are.
   *
   * @throws SHUNT_E_LOAD, SHUNT_E_BPF_DENIED, SHUNT_E_LIBBPF, SHUNT_E_OBJECT_MISSING, SHUNT_E_PINS_VERSION
   */
  async loadNode(): Promise<NodeObjects> {
    const pins = this.#pins;
    const before = new Set(pins?.mapNames());
    using stack = new DisposableStack();
    try {
      const loaded = {
        connect: stack.use(await this.#load(connect, 'connect')),
        dns: stack.use(await this.#load(dns, 'dns')),
        listen: stack.use(await this.#load(listen, 'listen')),
        sockops: stack.use(await this.#loadSockops()),
        sockopt: stack.use(await this.#load(sockopt, 'sockopt')),
      };
      const kept = stack.move();
      return { ...loaded, [Symbol.dispose]: () => kept.dispose() };
    } catch (error) {
      if (pins !== null) unpin(pins, before);
      throw error;
    }
  }

  /**
   * Before Linux 5.15 sockops cannot ask for a namespace's cookie: other builds of the program read it through BTF, or
   * have it from the sidecar's listener. The first that loads is taken.
   */
  async #loadSockops(): Promise<NodeObjects['sockops']> {
    const forms = [
      () => this.#load(sockops, 'sockops'),
      () => this.#load(sockopsBtf, 'sockops_btf'),
      () => this.#load(sockopsRole, 'sockops_role'),
    ];
    const errors: unknown[] = [];
    for (const load of forms) {
      try {
        return await load();
      } catch (error) {
        if (!isRejected(error)) throw error;
        errors.push(error);
      }
    }
    // That of the form which newer kernels take says most.
    throw errors[0];
  }

  loadAccelerate(): Promise<AccelerateObject> {
    return this.#load(accelerate, 'accelerate');
  }

  /** What tells namespaces' cookies on kernels that do not; nothing of it is pinned. */
  loadCookie(): Promise<CookieObject> {
    return this.#load(cookie, 'cookie');
  }

  /** An instance of the inbound program; it serves no pod yet. */
  loadInbound(): Promise<InboundObject> {
    return this.#load(inbound, 'inbound');
  }

  async #load<D extends Definition>(definition: D, name: string): Promise<Loaded<D>> {
    const file = join(this.#directory, `${name}.bpf.o`);
    if (!existsSync(file)) throw new ShuntError('SHUNT_E_OBJECT_MISSING', undefined, { target: file });
    try {
      using open = definition.open({ file }) as Opened<D>;
      this.#placeMaps(open.maps);
      return (await open.load()) as Loaded<D>;
    } catch (error) {
      throw loadError(error, file);
    }
  }

  /** A pinned map keeps its size until `shunt cleanup`, since its entries are in force: it is asked for once. */
  #pinnedCapacity(path: string): number | undefined {
    const capacity = this.#capacities.get(path) ?? pinnedCapacity(path);
    if (capacity !== undefined) this.#capacities.set(path, capacity);
    return capacity;
  }

  #placeMaps(maps: Record<string, { maxEntries: number; pinPath: string | undefined }>): void {
    const wanted = capacities(this.#sizes);
    for (const [name, map] of Object.entries(maps)) {
      if (name.startsWith('.')) continue;
      const path = PRIVATE.has(name) ? undefined : this.#pins?.map(name);
      const capacity = (path === undefined ? undefined : this.#pinnedCapacity(path)) ?? wanted[name];
      // 0: socket storage, which lives in the sockets.
      if (capacity !== undefined && capacity > 0) map.maxEntries = capacity;
      if (path !== undefined) map.pinPath = path;
    }
  }
}

/** Takes away the pins of maps that are not among those. */
export function unpin(pins: Pins, kept: ReadonlySet<string>): void {
  for (const name of pins.mapNames()) if (!kept.has(name)) unlinkSync(pins.map(name));
}

function isRejected(error: unknown): boolean {
  return error instanceof ShuntError && error.code === 'SHUNT_E_LOAD';
}

/** Looks a pinned map up, with the types of its entries, for which every program in the kernel may be asked. */
function pinnedCapacity(path: string): number | undefined {
  if (!existsSync(path)) return undefined;
  using map = openPinnedMap(path);
  return map.info.maxEntries;
}

/**
 * Makes sure that pins found in place were made for the same layout. Maps that an agent left which was killed while it
 * pinned them for the first time are removed: nothing is in force by them.
 *
 * @throws SHUNT_E_PINS_VERSION; nothing is touched
 */
export function checkLayout(pins: Pins): void {
  if (pins.mapNames().length === 0) return;
  const path = pins.map('meta');
  const other = (detail: string, cause?: unknown): ShuntError =>
    new ShuntError('SHUNT_E_PINS_VERSION', detail, { target: pins.root, cause });
  if (!existsSync(path)) {
    const names = pins.mapNames();
    if (pins.linkNames().length > 0 || pins.podCookies().length > 0) {
      throw other(`maps are pinned (${names.join(', ')}), but not meta`);
    }
    for (const name of names) unlinkSync(pins.map(name));
    return;
  }
  try {
    using map = BpfMap.fromPin(path, { key: codec.u32, value: MetaCodec });
    const meta = map.get(0);
    // 0: the agent that made the maps was killed before it could sign them. They are empty then.
    if (meta === undefined || meta.layout === 0) return;
    if (meta.layout === LAYOUT_VERSION) return;
    throw other(`layout ${meta.layout} by version ${meta.agent_version}, this is layout ${LAYOUT_VERSION}`);
  } catch (cause) {
    if (!(cause instanceof BpfError)) throw cause;
    // What keeps us from reading says nothing of what is there.
    if (cause.code === 'EPERM' || cause.code.startsWith('LIBBPF_')) throw loadError(cause, path);
    throw other(`meta cannot be read: ${cause.message}`, cause);
  }
}
