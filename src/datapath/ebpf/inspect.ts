/**
 * What stands in the kernel, read from the pins alone: no agent, no compiled objects. The command line sees the
 * kernel through this file.
 */
import { uptime } from 'node:os';
import {
  BpfError,
  codec,
  Link,
  type LinkInfo,
  listPrograms,
  libbpfVersion as loadedLibbpf,
  PerCpuMap,
} from 'libbpf-ts';
import * as v from 'valibot';
import type { AccelerationState, HeldPod } from '../interface.ts';
import { CgroupPaths } from './cgroup_paths.ts';
import { readCounters } from './counters.ts';
import { CountersCodec } from './gen/objects.ts';
import { PinnedMap } from './pinned_map.ts';
import { KERNEL_PREFIX, Pins } from './pins.ts';

export { type Feature, probeFeatures } from './feature_list.ts';
export { LAYOUT_VERSION } from './objects.ts';
export { type MapEntry, PinnedMap, summed } from './pinned_map.ts';
export { probeTier } from './self_test.ts';

export interface PinnedMapInfo {
  /** Name of the pin. */
  name: string;
  type: string;
  /** Null where they cannot be counted. */
  entries: number | null;
  capacity: number;
  /** C names of the types; `bytes[n]` where the map has none. */
  keyType: string;
  valueType: string;
  keyBytes: number;
  /** Of one CPU. */
  valueBytes: number;
  mapId: number;
  path: string;
}

export interface PinnedLinkInfo {
  /** `connect4`, or `<netns cookie>/inbound` for a pod's. */
  name: string;
  type: string;
  attachType: string;
  /** Path of the cgroup, or `netns:[inode]`; null when it is gone. */
  target: string | null;
  attached: boolean;
  /** Name of the program in the kernel, null when it cannot be read. */
  program: string | null;
  linkId: number;
  programId: number;
  path: string;
}

export interface OwnProgram {
  programId: number;
  name: string;
  type: string;
  tag: string;
  /** Names of the pinned links that hold it. */
  links: string[];
  /** ISO time. */
  loadedAt: string;
  jitedBytes: number;
  /** 0 unless `sysctl kernel.bpf_stats_enabled=1`. */
  runs: bigint;
  /** Together; the same. */
  runTimeNs: bigint;
  mapIds: number[];
}

/** What the map `meta` says of who pinned all this. */
export interface PinnedMeta {
  layout: number;
  agentVersion: string;
  cgroup: string;
}

export function libbpfVersion(): string {
  return loadedLibbpf().text;
}

export function listPinnedMaps(bpffs: string): PinnedMapInfo[] {
  return new Pins(bpffs).mapNames().map((name) => {
    using map = new PinnedMap(bpffs, name);
    const { info, keyType, valueType, path } = map;
    return {
      name,
      type: info.type,
      entries: map.count(),
      capacity: info.maxEntries,
      keyType,
      valueType,
      keyBytes: info.keySize,
      valueBytes: info.valueSize,
      mapId: info.id,
      path,
    };
  });
}

export function listPinnedLinks(bpffs: string): PinnedLinkInfo[] {
  const pins = new Pins(bpffs);
  const names = new Map([...listPrograms()].map(({ id, name }) => [id, name]));
  const cgroups = new CgroupPaths();
  const read = (name: string, path: string): PinnedLinkInfo[] => {
    const info = linkInfo(path);
    if (info === null) return [];
    return [
      {
        name,
        type: info.type,
        attachType: info.attachType ?? info.iterTarget ?? 'unknown',
        target: targetOf(info, cgroups),
        attached: info.attached ?? true,
        program: names.get(info.programId) ?? null,
        linkId: info.id,
        programId: info.programId,
        path,
      },
    ];
  };
  return [
    ...pins.linkNames().flatMap((name) => read(name, pins.link(name))),
    ...pins.podCookies().flatMap((cookie) => read(`${cookie}/inbound`, pins.inbound(cookie))),
  ];
}

/** Programs of ours: by their names' prefix, as the kernel lists them. */
export function listOwnPrograms(bpffs: string): OwnProgram[] {
  const links = listPinnedLinks(bpffs);
  const bootMs = Date.now() - uptime() * 1000;
  return [...listPrograms()]
    .filter(({ name }) => name.startsWith(KERNEL_PREFIX))
    .map(({ id, name, type, tag, loadedAtNs, jitedBytes, runCount, runTimeNs, mapIds }) => ({
      programId: id,
      name,
      type,
      tag,
      links: links.filter(({ programId }) => programId === id).map((link) => link.name),
      loadedAt: new Date(bootMs + Number(loadedAtNs / 1_000_000n)).toISOString(),
      jitedBytes,
      runs: runCount,
      runTimeNs,
      mapIds,
    }));
}

const MetaValue = v.object({ layout: v.number(), agent_version: v.string(), cgroup_path: v.string() });

/** Who pinned all this; null when nothing is pinned. */
export function readMeta(bpffs: string): PinnedMeta | null {
  if (!isPinned(bpffs, 'meta')) return null;
  using map = new PinnedMap(bpffs, 'meta');
  const value = v.parse(MetaValue, map.get('0')?.value);
  return { layout: value.layout, agentVersion: value.agent_version, cgroup: value.cgroup_path };
}

/** Flags as decoded: `A|B`, or `0`. */
const flags = v.pipe(
  v.string(),
  v.transform((text) => text.split('|')),
);

const SettingsValue = v.object({ flags, round: v.number() });

/** Whether the kill switch of the acceleration is open. */
export function readAcceleration(bpffs: string): AccelerationState {
  if (!isPinned(bpffs, 'settings')) return { enabled: false, reason: 'nothing is pinned' };
  using map = new PinnedMap(bpffs, 'settings');
  const settings = v.parse(SettingsValue, map.get('0')?.value);
  const enabled = settings.flags.includes('SETTINGS_ACCEL');
  return {
    enabled,
    reason: enabled ? 'promoted connections go on; no agent promotes new ones' : 'switched off',
  };
}

/** How many times the connections have been walked since the maps were pinned, modulo 2^32. */
export function readWalks(bpffs: string): number {
  using map = new PinnedMap(bpffs, 'settings');
  return v.parse(SettingsValue, map.get('0')?.value).round;
}

const PodEntry = v.object({
  key: v.bigint(),
  value: v.object({ ip4: v.string(), ip6: v.string(), flags }),
});
const ListenerKey = v.object({ netns: v.bigint(), family: v.number() });
const AF_INET = 2;

/** The pods that the maps hold, and whether the sidecar is told by its cgroup. */
export function readPods(bpffs: string): (HeldPod & { identity: 'cgroup' | 'uid' })[] {
  const pins = new Pins(bpffs);
  if (!isPinned(bpffs, 'pods')) return [];
  using pods = new PinnedMap(bpffs, 'pods');
  using listeners = new PinnedMap(bpffs, 'listeners');
  using counters = PerCpuMap.fromPin(pins.map('counters'), { key: codec.u64, value: CountersCodec });
  const listening = [...listeners.entries()].map(({ key }) => v.parse(ListenerKey, key));
  return [...pods.entries()].map((entry) => {
    const { key: cookie, value } = v.parse(PodEntry, entry);
    const own = listening.filter(({ netns }) => netns === cookie);
    const ip4 = own.filter(({ family }) => family === AF_INET).length;
    return {
      cookie,
      ip4: value.flags.includes('POD_HAS_IP4') ? value.ip4 : null,
      ip6: value.flags.includes('POD_HAS_IP6') ? value.ip6 : null,
      inbound: linkInfo(pins.inbound(cookie))?.attached ?? false,
      listeners: { ip4, ip6: own.length - ip4 },
      acceleration: accelerationOf(value.flags),
      counters: readCounters(counters, cookie),
      identity: value.flags.includes('POD_CGROUP_KNOWN') ? 'cgroup' : 'uid',
    };
  });
}

/** Throws EACCES where the pins may not be looked at, instead of saying that there are none. */
function isPinned(bpffs: string, map: string): boolean {
  return new Pins(bpffs).mapNames().includes(map);
}

function accelerationOf(podFlags: string[]): HeldPod['acceleration'] {
  if (!podFlags.includes('POD_ACCEL_OUTBOUND')) return 'off';
  if (podFlags.includes('POD_ACCEL_FULL')) return 'full';
  return podFlags.includes('POD_ACCEL_VOUCHED') ? 'outbound' : 'auto';
}

/** Null when nothing is pinned there, or no link. */
function linkInfo(path: string): LinkInfo | null {
  try {
    using link = Link.fromPin(path);
    return link.info();
  } catch (error) {
    if (error instanceof BpfError && (error.code === 'ENOENT' || error.code === 'EINVAL')) return null;
    throw error;
  }
}

function targetOf(info: LinkInfo, cgroups: CgroupPaths): string | null {
  if (info.attached === false) return null;
  if (info.cgroupId !== undefined) return cgroups.find(info.cgroupId) ?? `cgroup:[${info.cgroupId}]`;
  return info.netnsIno === undefined ? null : `netns:[${info.netnsIno}]`;
}
