/** Which sockets of applications were in the sockhash while they were used, and which block. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openPinnedMap } from 'libbpf-ts';
import * as v from 'valibot';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { processesIn } from '../../src/lab/cgroup.ts';
import { attempt } from '../../src/lab/command.ts';
import type { Pod } from '../../src/lab/host.ts';
import { within } from '../../src/lab/topology.ts';

/** In the flags of fdinfo, on x86-64 and arm64. */
const O_NONBLOCK = 0o4000;
const EVERY_MS = 250;
/** Of ss -e: inode and cookie. ss -p would look through every process of the machine. */
const SOCKET = / ino:(\d+) sk:([0-9a-f]+)/;
const FLOW = v.object({ state: v.string() });

/** Of all connections that one program had. */
export interface Ends {
  promoted: number;
  /** Seen with O_NONBLOCK clear, and never promoted. */
  blocking: number;
  other: number;
}

/** Looks at the sockets of a pair's applications until it is told to stop. */
export class EndWatch {
  readonly #bpffs: string;
  readonly #pods: readonly Pod[];
  readonly #seen = new Map<string, { program: string; promoted: boolean; blocking: boolean }>();
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  constructor(bpffs: string, pods: readonly Pod[]) {
    this.#bpffs = bpffs;
    this.#pods = pods;
    this.#watching = this.#watch(this.#stop.signal);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await Promise.all(this.#pods.map((pod) => this.#look(pod)));
      await delay(EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  async #look(pod: Pod): Promise<void> {
    const { stdout } = await attempt(within(pod.netns, ['ss', '-Htne', 'state', 'established']));
    const files = socketsOf(pod.place('app').cgroup ?? '');
    const promoted = this.#promoted();
    for (const line of stdout.split('\n')) {
      const [, inode = '', cookie = ''] = SOCKET.exec(line) ?? [];
      const file = files.get(inode);
      if (file === undefined) continue;
      const end = this.#seen.get(cookie) ?? { program: file.program, promoted: false, blocking: false };
      end.promoted ||= promoted.has(BigInt(`0x${cookie}`));
      end.blocking ||= file.blocking;
      this.#seen.set(cookie, end);
    }
  }

  /** Cookies of what is in the sockhash at this moment. */
  #promoted(): Set<unknown> {
    using flows = openPinnedMap(new Pins(this.#bpffs).map('flows'));
    const entries = [...flows.entries()];
    return new Set(
      entries.filter(([, flow]) => v.parse(FLOW, flow).state !== 'FLOW_CANDIDATE').map(([cookie]) => cookie),
    );
  }

  /** Stops, and tells of every program that had connections. */
  async ended(): Promise<Map<string, Ends>> {
    this.#stop.abort();
    await this.#watching;
    const programs = new Map<string, Ends>();
    for (const { program, promoted, blocking } of this.#seen.values()) {
      const ends = programs.get(program) ?? { promoted: 0, blocking: 0, other: 0 };
      ends[promoted ? 'promoted' : blocking ? 'blocking' : 'other']++;
      programs.set(program, ends);
    }
    return programs;
  }
}

/** Sockets of the processes in a cgroup, by inode. */
function socketsOf(cgroup: string): Map<string, { program: string; blocking: boolean }> {
  const sockets = new Map<string, { program: string; blocking: boolean }>();
  for (const pid of processesIn(cgroup)) {
    const program = unlessGone(() => basename(readlinkSync(`/proc/${pid}/exe`))) ?? '';
    for (const fd of unlessGone(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const target = unlessGone(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? '';
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined) continue;
      const info = unlessGone(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')) ?? '';
      const flags = /^flags:\s*([0-7]+)/m.exec(info)?.[1];
      const blocking = flags !== undefined && (Number.parseInt(flags, 8) & O_NONBLOCK) === 0;
      sockets.set(inode, { program, blocking });
    }
  }
  return sockets;
}

/** What /proc tells of a process or a file; undefined where it has ended or closed it meanwhile. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
