import type { StatusReport } from '../agent/api.ts';
import { AgentClient } from '../agent/client.ts';
import type { HeldLink, MapFill } from '../datapath/interface.ts';
import type { TierState } from '../datapath/tier.ts';
import { ShuntError } from '../errors.ts';
import { heldRules } from './cleanup_rules.ts';
import type { Context } from './context.ts';
import { duration } from './output/duration.ts';
import { type Column, type Field, type Look, renderFields, renderTable } from './output/table.ts';
import { write } from './output/writer.ts';

/** What the pins alone tell. `agent` says why no more is known. */
export interface PinnedStatus {
  running: false;
  bpffs: string;
  /** Version of the agent that pinned them. */
  version: string | null;
  layout: number | null;
  cgroup: string | null;
  acceleration: { enabled: boolean; reason: string };
  pods: { enrolled: number };
  /** By pins, and by rules of the iptables backend that an agent with this socket left. */
  enrolledBy: { ebpf: number; iptables: number };
  links: HeldLink[];
  maps: MapFill[];
}

type RunningStatus = { running: true } & StatusReport;
type Status = RunningStatus | PinnedStatus;

const FIELDS: readonly Field<RunningStatus>[] = [
  {
    label: 'Agent',
    value: (status) => `running, pid ${status.pid}, for ${since(status.startedAt)}`,
    tone: () => 'good',
  },
  { label: 'Version', value: (status) => status.version },
  { label: 'Backend', value: (status) => `${status.backend} (${status.backendReason})` },
  { label: 'Tier', value: ({ tier }) => tierText(tier) },
  { label: 'Cgroup', value: (status) => status.cgroup },
  { label: 'Pins', value: (status) => (status.backend === 'ebpf' ? `${status.bpffs}/shunt` : null) },
  {
    label: 'Settings',
    value: ({ settings }) =>
      settings.error === null ? settings.path : `the last good ones: ${settings.error.message}`,
    tone: ({ settings }) => (settings.error === null ? undefined : 'bad'),
  },
  {
    label: 'Source',
    value: ({ source }) =>
      source.kind === 'kubernetes' ? source.path : `${source.path} (${count(source.manifests, 'manifest')})`,
  },
  {
    label: 'Pods',
    value: ({ pods, enrolledBy }) =>
      `${pods.enrolled} enrolled${backendsText(enrolledBy)}, ${pods.left} left alone, ${pods.failed} failed`,
    tone: ({ pods }) => (pods.failed > 0 ? 'bad' : undefined),
  },
  {
    label: 'Adopted',
    value: ({ adopted }) => `${count(adopted.links, 'link')}, ${count(adopted.pods, 'pod')}`,
  },
  {
    label: 'Drift',
    value: ({ drift }) => `${driftText(drift)} (checked ${since(drift.checkedAt)} ago)`,
    tone: ({ drift }) => (drift.outstanding.length > 0 ? 'bad' : undefined),
  },
  { label: 'Acceleration', value: ({ acceleration }) => accelerationText(acceleration) },
];

const PINNED_FIELDS: readonly Field<PinnedStatus>[] = [
  { label: 'Agent', value: () => 'not running', tone: () => 'warn' },
  { label: 'Pinned by', value: (status) => status.version },
  { label: 'Layout', value: (status) => status.layout },
  { label: 'Cgroup', value: (status) => status.cgroup },
  { label: 'Pins', value: (status) => `${status.bpffs}/shunt` },
  { label: 'Pods', value: ({ pods, enrolledBy }) => `${pods.enrolled} enrolled${backendsText(enrolledBy)}` },
  { label: 'Acceleration', value: ({ acceleration }) => accelerationText(acceleration) },
];

const LINK_COLUMNS: readonly Column<HeldLink>[] = [
  { head: 'LINK', cell: (link) => link.name },
  { head: 'ATTACH TYPE', cell: (link) => link.attachType },
  { head: 'ATTACHED', cell: (link) => link.attached, tone: (link) => (link.attached ? undefined : 'bad') },
  { head: 'LINK ID', cell: (link) => link.linkId, wide: true },
  { head: 'PROGRAM ID', cell: (link) => link.programId, wide: true },
];

const MAP_COLUMNS: readonly Column<MapFill>[] = [
  { head: 'MAP', cell: (map) => map.name },
  { head: 'TYPE', cell: (map) => map.type },
  { head: 'ENTRIES', cell: (map) => map.entries ?? '<unknown>' },
  { head: 'CAPACITY', cell: (map) => map.capacity },
];

const REJECTED_COLUMNS: readonly Column<StatusReport['source']['rejected'][number]>[] = [
  { head: 'REJECTED FILE', cell: (entry) => entry.file },
  { head: 'CODE', cell: (entry) => entry.code },
  { head: 'WHY', cell: (entry) => entry.message },
  { head: 'FIX', cell: (entry) => entry.fix },
];

/** What the agent reports; where none answers, what the pins tell, since they enforce without it. */
export async function status(context: Context): Promise<undefined> {
  const found = await findStatus(context);
  await write(context.io, context.format, {
    data: found,
    names: () => [`agent/${found.running ? found.pid : 'not-running'}`],
    text: (look) => (found.running ? runningText(found, look) : pinnedText(found, look)),
  });
}

async function findStatus(context: Context): Promise<Status> {
  try {
    return { running: true, ...(await new AgentClient(context.socket).status()) };
  } catch (error) {
    if (!(error instanceof ShuntError) || error.code !== 'SHUNT_E_AGENT_DOWN') throw error;
    return await pinnedStatus(context);
  }
}

async function pinnedStatus({ bpffs, socket }: Context): Promise<PinnedStatus> {
  const ebpf = await import('../datapath/ebpf/inspect.ts');
  const meta = ebpf.readMeta(bpffs);
  const iptables = heldRules(socket, ['whole']).length;
  if (meta === null) {
    return {
      running: false,
      bpffs,
      version: null,
      layout: null,
      cgroup: null,
      acceleration: { enabled: false, reason: 'nothing is pinned' },
      pods: { enrolled: iptables },
      enrolledBy: { ebpf: 0, iptables },
      links: [],
      maps: [],
    };
  }
  const pinned = ebpf.readPods(bpffs).length;
  return {
    running: false,
    bpffs,
    version: meta.agentVersion,
    layout: meta.layout,
    cgroup: meta.cgroup,
    acceleration: ebpf.readAcceleration(bpffs),
    pods: { enrolled: pinned + iptables },
    enrolledBy: { ebpf: pinned, iptables },
    links: ebpf.listPinnedLinks(bpffs).map(({ name, attachType, attached, linkId, programId }) => ({
      name,
      attachType,
      attached,
      linkId,
      programId,
    })),
    maps: ebpf
      .listPinnedMaps(bpffs)
      .map(({ name, type, entries, capacity }) => ({ name, type, entries, capacity })),
  };
}

function runningText(found: RunningStatus, look: Look): string {
  const { rejected } = found.source;
  return [
    renderFields(FIELDS, found, look),
    ...found.drift.outstanding.map((sentence) => renderFields(OUTSTANDING, sentence, look)),
    rejected.length === 0 ? '' : `\n${renderTable(REJECTED_COLUMNS, rejected, look)}`,
    attachments(found, look),
  ].join('');
}

const OUTSTANDING: readonly Field<string>[] = [
  { label: 'Not repaired', value: (sentence) => sentence, tone: () => 'bad' },
];

function pinnedText(found: PinnedStatus, look: Look): string {
  return renderFields(PINNED_FIELDS, found, look) + attachments(found, look);
}

function attachments({ links, maps }: { links: HeldLink[]; maps: MapFill[] }, look: Look): string {
  return [
    links.length === 0 ? '' : `\n${renderTable(LINK_COLUMNS, links, look)}`,
    maps.length === 0 ? '' : `\n${renderTable(MAP_COLUMNS, maps, look)}`,
  ].join('');
}

/** Said where both backends have pods. */
function backendsText({ ebpf, iptables }: StatusReport['enrolledBy']): string {
  return ebpf > 0 && iptables > 0 ? ` (${ebpf} by eBPF, ${iptables} by iptables)` : '';
}

function driftText({ repaired, outstanding }: StatusReport['drift']): string {
  if (outstanding.length > 0) return `${outstanding.length} not repaired`;
  return repaired.length === 0 ? 'none' : `none left, ${repaired.length} repaired`;
}

function accelerationText({ enabled, reason }: { enabled: boolean; reason: string }): string {
  return `${enabled ? 'on' : 'off'} (${reason})`;
}

function tierText({ tier, name, limit }: TierState): string {
  return `${tier} (${name})${limit === null ? '' : `; no higher: ${limit}`}`;
}

function since(time: string): string {
  const started = Date.parse(time);
  return Number.isNaN(started) ? 'an unknown time' : duration(Date.now() - started);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
