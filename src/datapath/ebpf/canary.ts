/**
 * Whether acceleration changes nothing on this kernel, found out and not looked up: the programs that are going to be
 * used redirect between sockets of our own, in a network namespace of their own and with maps of their own, and every
 * item compares what a program would see with what plain TCP shows it.
 */
import { join } from 'node:path';
import { attachSockmapProgram, Link } from 'libbpf-ts';
import type { CanaryItem } from '../interface.ts';
import { CanarySocket, inScratchNetns, POLLIN, POLLOUT } from './canary_socket.ts';
import { accelerate, ConnFlags, type Settings, SettingsFlags } from './gen/objects.ts';

export interface CanaryVerdict {
  items: readonly CanaryItem[];
  /** Messages may be redirected to a sidecar, between sidecars and from applications that are in the sockhash. */
  sidecars: boolean;
  /** Sockets of applications may be in the sockhash. */
  applications: boolean;
  /** copied_seq of a peer tells how much of TCP's it has read. */
  peerSeq: boolean;
}

type Tuning = Pick<Settings, 'backlog_bytes' | 'pod_backlog_bytes' | 'max_message_bytes'>;
type Loaded = Awaited<ReturnType<ReturnType<typeof accelerate.open>['load']>>;

/** Netns cookie that no namespace has: whose counters the canary's messages count in. */
const NETNS = 0n;
const MAP_ENTRIES = 64;
/** Data segments before the iterator judges a connection: more than MIN_SEGMENTS of bpf/accelerate.bpf.c. */
const WARM_ROUNDS = 6;
const SIZE = 100;
const { SETTINGS_ACCEL, SETTINGS_ACCEL_APPS, SETTINGS_PEER_SEQ } = SettingsFlags;

/** Two promoted ends, and the switch over them. */
class Bed {
  readonly a: CanarySocket;
  readonly b: CanarySocket;
  readonly #object: Loaded;
  readonly #settings: Settings;

  constructor(object: Loaded, settings: Settings, [a, b]: [CanarySocket, CanarySocket]) {
    this.#object = object;
    this.#settings = settings;
    this.a = a;
    this.b = b;
  }

  /** @param on false: what is sent from now on goes by TCP */
  accelerate(on: boolean): void {
    const flags = on ? this.#settings.flags : this.#settings.flags & ~SETTINGS_ACCEL;
    this.#object.maps.shunt_settings.set(0, { ...this.#settings, flags });
  }

  /** Messages and bytes redirected so far, over all pairs. */
  redirected(): { messages: number; bytes: number } {
    const values = this.#object.maps.shunt_counters.sum(NETNS)?.values ?? [];
    return { messages: Number(values[MESSAGES] ?? 0n), bytes: Number(values[BYTES] ?? 0n) };
  }

  /** What is sent by `a`, and whether it was redirected. */
  send(data: Uint8Array): boolean {
    const before = this.redirected().messages;
    const sent = this.a.send(data);
    if (sent !== data.length) throw new Error(`send gave ${sent} of ${data.length}`);
    return this.redirected().messages > before;
  }
}

/** Of enum counter in bpf/layout.h. */
const [MESSAGES, BYTES] = [13, 14];

interface Check {
  name: CanaryItem['name'];
  /** What may not be accelerated when it fails. `note`: nothing that is on by default. */
  needed: CanaryItem['needed'];
  /** Why it fails, or null. */
  fault(bed: Bed, tuning: Tuning): string | null;
}

const CHECKS: readonly Check[] = [
  {
    name: 'redirect',
    needed: 'all',
    fault(bed) {
      if (!bed.send(filled(1))) return 'the message went by TCP';
      return differs(bed.b, [1]);
    },
  },
  { name: 'order', needed: 'all', fault: (bed) => outOfOrder(bed) },
  {
    name: 'bound',
    needed: 'all',
    fault(bed, tuning) {
      // All pairs are of one pod, whose budget their ends share.
      const bound = Math.min(
        tuning.backlog_bytes,
        Math.floor(tuning.pod_backlog_bytes / (2 * CHECKS.length)),
      );
      const before = bed.redirected().bytes;
      const message = new Uint8Array(16_384).fill(2);
      let accepted = 0;
      // TCP's own buffers end it; a queue without end would go past any of them.
      while (accepted < 256 * 2 ** 20) {
        const sent = bed.a.send(message);
        if (sent === 'EAGAIN') break;
        if (typeof sent === 'string') return `send gave ${sent}`;
        accepted += sent;
      }
      const waiting = bed.redirected().bytes - before;
      if (waiting > bound + message.length) return `${waiting} redirected bytes wait, ${bound} may`;
      const expected = Buffer.alloc(65_536, 2);
      for (let left = accepted; left > 0; ) {
        const got = bed.b.recv();
        if (typeof got === 'string' || got.length === 0) return `${left} bytes never came`;
        if (!got.equals(expected.subarray(0, got.length))) return 'bytes came out changed';
        left -= got.length;
      }
      return bed.a.poll(POLLOUT, 1000) === 0 ? 'no room was told of after all was read (EPOLLOUT)' : null;
    },
  },
  {
    name: 'wake-ups',
    needed: 'all',
    fault(bed) {
      if (bed.b.poll(POLLIN) !== 0) return 'poll tells of bytes before any came';
      if (!bed.b.wokenBy(() => bed.send(filled(3)))) return 'epoll did not tell of a redirected message';
      if (bed.b.poll(POLLIN) === 0) return 'poll did not tell of a redirected message';
      return differs(bed.b, [3]);
    },
  },
  {
    name: 'half close',
    needed: 'all',
    fault(bed) {
      bed.send(filled(4));
      bed.a.endSending();
      const fault = differs(bed.b, [4]);
      if (fault !== null) return fault;
      const end = bed.b.recv();
      if (typeof end === 'string' || end.length !== 0) return `the end of the stream reads as ${said(end)}`;
      bed.b.send(filled(5));
      return differs(bed.a, [5]);
    },
  },
  {
    name: 'reset',
    needed: 'all',
    fault(bed) {
      bed.send(filled(6));
      bed.a.reset();
      for (let reads = 0; reads < 3; reads++) {
        const got = bed.b.recv();
        if (got === 'ECONNRESET') return null;
        if (typeof got === 'string') return `a reset connection reads as ${got}`;
      }
      return 'the reset is never told';
    },
  },
  {
    name: 'unread bytes',
    needed: 'applications',
    fault(bed) {
      bed.accelerate(false);
      bed.send(filled(7));
      bed.b.poll(POLLIN, 1000);
      const unread = bed.b.unread();
      bed.accelerate(true);
      if (unread !== SIZE) return `FIONREAD tells ${unread} where TCP brought ${SIZE}`;
      return differs(bed.b, [7]);
    },
  },
  {
    name: 'unread redirected bytes',
    needed: 'note',
    fault(bed) {
      bed.send(filled(8));
      const unread = bed.b.unread();
      return unread === SIZE ? null : `FIONREAD tells ${unread} where ${SIZE} were redirected`;
    },
  },
  {
    name: 'splice',
    needed: 'note',
    fault(bed) {
      bed.send(filled(9));
      const moved = bed.b.splice(SIZE);
      return moved === SIZE ? null : `splice gives ${moved} where ${SIZE} bytes were redirected`;
    },
  },
];

/**
 * Runs every item; takes about a fifth of a second, most of it loading.
 *
 * @param objectDirectory of the compiled *.bpf.o files
 * @throws BpfError when the programs do not load, Error where a namespace cannot be made
 */
export async function runCanary(objectDirectory: string, tuning: Tuning): Promise<CanaryVerdict> {
  const exact = await judge(objectDirectory, tuning, SETTINGS_PEER_SEQ);
  if (passes(exact, 'all')) return verdict(exact, true);
  // Kernels before b40cc5adaa80 count redirected bytes in copied_seq: peers have to tell what they read, then.
  const told = await judge(objectDirectory, tuning, 0);
  return passes(told, 'all') ? verdict(told, false) : verdict(exact, false);
}

function verdict(items: readonly CanaryItem[], peerSeq: boolean): CanaryVerdict {
  const sidecars = passes(items, 'all');
  return { items, sidecars, applications: sidecars && passes(items, 'applications'), peerSeq };
}

function passes(items: readonly CanaryItem[], needed: CanaryItem['needed']): boolean {
  return items.every((item) => item.needed !== needed || item.fault === null);
}

async function judge(objectDirectory: string, tuning: Tuning, peerSeq: number): Promise<CanaryItem[]> {
  using opened = accelerate.open({ file: join(objectDirectory, 'accelerate.bpf.o') });
  for (const [name, map] of Object.entries(opened.maps)) {
    // 0: socket storage, which lives in the sockets.
    if (!name.startsWith('.') && map.maxEntries > MAP_ENTRIES) map.maxEntries = MAP_ENTRIES;
  }
  using object = await opened.load();
  attachSockmapProgram(object.programs.shunt_msg, object.maps.shunt_socks);
  using iterator = Link.attachIter(object.programs.shunt_promote, { map: object.maps.shunt_conns });
  object.maps.shunt_counters.setZero(NETNS);
  const settings: Settings = {
    ...tuning,
    flags: SETTINGS_ACCEL | SETTINGS_ACCEL_APPS | peerSeq,
    min_age_ns: 0n,
    round: 0,
  };
  using sockets = new DisposableStack();
  const pairs = inScratchNetns(() => CanarySocket.pairs(CHECKS.length));
  for (const pair of pairs) for (const socket of pair) sockets.use(socket);
  for (const pair of pairs) warm(pair);
  for (const [a, b] of pairs) {
    introduce(object, a, b, ConnFlags.CONN_CLIENT);
    introduce(object, b, a, ConnFlags.CONN_SERVER);
  }
  for (let round = 1; round <= 3; round++) {
    object.maps.shunt_settings.set(0, { ...settings, round });
    iterator.readIterSync();
  }
  return CHECKS.map(({ name, needed, fault }, index) => {
    const bed = new Bed(object, { ...settings, round: 3 }, pairs[index] as [CanarySocket, CanarySocket]);
    bed.accelerate(true);
    try {
      return { name, needed, fault: fault(bed, tuning) };
    } catch (error) {
      return { name, needed, fault: error instanceof Error ? error.message : String(error) };
    }
  });
}

/** Request and response, as the iterator wants to have seen. */
function warm([a, b]: [CanarySocket, CanarySocket]): void {
  for (let round = 0; round < WARM_ROUNDS; round++) {
    a.send(filled(0));
    b.recv();
    b.send(filled(0));
    a.recv();
  }
}

/** As bpf/sockops.bpf.c leaves a pair that it has matched. */
function introduce(object: Loaded, socket: CanarySocket, peer: CanarySocket, side: number): void {
  const { CONN_ACCEL, CONN_PAIRED, CONN_SEND_ACCEL, CONN_SIDECAR } = ConnFlags;
  object.maps.shunt_conns.set(socket.fd, {
    orig: { addr: { bytes: new Uint8Array(16) }, port: 0, family: 0 },
    flags: side | CONN_ACCEL | CONN_PAIRED | CONN_SEND_ACCEL | CONN_SIDECAR,
    netns: NETNS,
    self: socket.cookie,
    peer: peer.cookie,
    since_ns: 0n,
  });
}

/**
 * Bytes by TCP that wait unread, and a message that could overtake them; the second time as many as were redirected
 * just before, so that a reader's count of them would cancel out.
 */
function outOfOrder(bed: Bed): string | null {
  bed.send(filled(1));
  let fault = differs(bed.b, [1]);
  for (const [first, second] of [
    [2, 3],
    [4, 5],
  ] as const) {
    if (fault !== null) return fault;
    bed.accelerate(false);
    bed.send(filled(first));
    bed.accelerate(true);
    bed.send(filled(second));
    fault = differs(bed.b, [first, second]);
  }
  if (fault !== null) return fault;
  bed.b.send(filled(6));
  fault = differs(bed.a, [6]);
  if (fault !== null) return fault;
  return bed.send(filled(7)) ? differs(bed.b, [7]) : 'nothing is redirected any more once all was read';
}

function filled(byte: number): Uint8Array {
  return new Uint8Array(SIZE).fill(byte);
}

/** Reads messages of {@link filled}; null when they come in this order. */
function differs(socket: CanarySocket, messages: readonly number[]): string | null {
  const wanted = Buffer.concat(messages.map(filled));
  let seen = Buffer.alloc(0);
  while (seen.length < wanted.length) {
    const got = socket.recv(wanted.length - seen.length);
    if (typeof got === 'string' || got.length === 0)
      return `${wanted.length - seen.length} bytes missing: ${said(got)}`;
    seen = Buffer.concat([seen, got]);
  }
  return seen.equals(wanted) ? null : 'bytes came in another order than they were sent';
}

function said(got: Buffer | string): string {
  if (typeof got === 'string') return got;
  return got.length === 0 ? 'the end of the stream' : `${got.length} bytes`;
}
