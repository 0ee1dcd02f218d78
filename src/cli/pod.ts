import type { PodReport } from '../agent/api.ts';
import { AgentClient } from '../agent/client.ts';
import type { HeldPod } from '../datapath/interface.ts';
import { ShuntError } from '../errors.ts';
import { heldRules, type RulesRemoval } from './cleanup_rules.ts';
import type { Context } from './context.ts';
import { type Column, type Field, type Look, renderFields, renderTable } from './output/table.ts';
import { write, writeList } from './output/writer.ts';
import { POLICY_FIELDS } from './policy_view.ts';

/** A pod as the agent reports it; the names are null when only the pins are read. */
export type PodRow = Omit<PodReport, 'namespace' | 'name' | 'uid'> & {
  namespace: string | null;
  name: string | null;
  uid: string | null;
};

const COLUMNS: readonly Column<PodRow>[] = [
  { head: 'NAMESPACE', cell: (pod) => pod.namespace },
  { head: 'NAME', cell: (pod) => pod.name },
  { head: 'STATE', cell: (pod) => pod.state, tone: (pod) => (pod.state === 'failed' ? 'bad' : undefined) },
  { head: 'MESH', cell: (pod) => pod.mesh },
  { head: 'BACKEND', cell: (pod) => pod.backend },
  { head: 'BACKEND REASON', cell: (pod) => pod.backendReason, wide: true },
  { head: 'IP', cell: (pod) => pod.ip4 ?? pod.ip6 },
  { head: 'IP6', cell: (pod) => pod.ip6, wide: true },
  { head: 'NETNS COOKIE', cell: (pod) => pod.netns?.cookie ?? pod.held?.cookie, wide: true },
  { head: 'IDENTITY', cell: (pod) => pod.identity, wide: true },
  { head: 'INBOUND', cell: (pod) => held(pod, ({ inbound }) => (inbound ? 'attached' : 'off')), wide: true },
  {
    head: 'LISTENERS',
    cell: (pod) => held(pod, ({ listeners }) => `${listeners.ip4}+${listeners.ip6}`),
    wide: true,
  },
  { head: 'ACCELERATION', cell: (pod) => held(pod, ({ acceleration }) => acceleration), wide: true },
  { head: 'REASON', cell: (pod) => pod.reason ?? pod.error?.message },
];

const FIELDS: readonly Field<PodRow>[] = [
  { label: 'Namespace', value: (pod) => pod.namespace },
  { label: 'Name', value: (pod) => pod.name },
  { label: 'Uid', value: (pod) => pod.uid },
  { label: 'State', value: (pod) => pod.state, tone: (pod) => (pod.state === 'failed' ? 'bad' : undefined) },
  { label: 'Reason', value: (pod) => pod.reason },
  {
    label: 'Error',
    value: (pod) => (pod.error === null ? null : `${pod.error.message} [${pod.error.code}]`),
  },
  { label: 'Fix', value: (pod) => pod.error?.fix },
  { label: 'Mesh', value: (pod) => pod.mesh },
  { label: 'Backend', value: (pod) => pod.backend },
  { label: 'Backend reason', value: (pod) => pod.backendReason },
  { label: 'Others', value: (pod) => pod.others.join('; ') || null },
  { label: 'IPv4', value: (pod) => pod.ip4 },
  { label: 'IPv6', value: (pod) => pod.ip6 },
  { label: 'Netns', value: (pod) => pod.netns?.path },
  { label: 'Netns cookie', value: (pod) => pod.netns?.cookie ?? pod.held?.cookie },
  { label: 'Sidecar told by', value: (pod) => pod.identity },
  { label: 'Inbound', value: (pod) => held(pod, ({ inbound }) => (inbound ? 'attached' : 'off')) },
  {
    label: 'Listeners',
    value: (pod) => held(pod, ({ listeners }) => `${listeners.ip4} IPv4, ${listeners.ip6} IPv6`),
  },
  { label: 'Acceleration', value: (pod) => held(pod, ({ acceleration }) => acceleration) },
];

const COUNTER_COLUMNS: readonly Column<[string, bigint]>[] = [
  { head: 'COUNTER', cell: ([name]) => name },
  { head: 'VALUE', cell: ([, value]) => value },
];

export async function listPods(context: Context): Promise<undefined> {
  const { pods, fromPins } = await findPods(context);
  if (fromPins)
    context.io.note('agent: not running; these are the enrolled pods as pinned, without their names');
  // Without names the cookie is all that tells one from another.
  const format = fromPins && context.format === 'table' ? 'wide' : context.format;
  await writeList(context.io, format, { kind: 'pod', columns: COLUMNS, name: nameOf }, pods);
}

/** @throws SHUNT_E_POD_UNKNOWN, also when a bare name fits several pods */
export async function getPod(context: Context, [wanted = '']: string[]): Promise<undefined> {
  const { pods } = await findPods(context);
  const pod = pickPod(pods, wanted);
  await write(context.io, context.format, {
    data: pod,
    names: () => [`pod/${nameOf(pod)}`],
    text: (look) => podText(pod, look),
  });
}

/**
 * The one pod that a word of the command line names: `name`, `namespace/name`, or its netns cookie.
 *
 * @throws SHUNT_E_POD_UNKNOWN
 */
export function pickPod<P extends PodRow>(pods: readonly P[], wanted: string): P {
  const fits = pods.filter(
    (pod) =>
      pod.name === wanted ||
      nameOf(pod) === wanted ||
      (pod.netns?.cookie ?? pod.held?.cookie.toString()) === wanted,
  );
  const [first, ...others] = fits;
  if (first === undefined) throw new ShuntError('SHUNT_E_POD_UNKNOWN', undefined, { target: wanted });
  if (others.length > 0) {
    const names = fits.map(nameOf).join(', ');
    throw new ShuntError('SHUNT_E_POD_UNKNOWN', `several pods have this name: ${names}`, {
      target: wanted,
      fix: 'give it with its namespace: NAMESPACE/NAME',
    });
  }
  return first;
}

async function findPods(context: Context): Promise<{ pods: PodRow[]; fromPins: boolean }> {
  try {
    return { pods: await new AgentClient(context.socket).pods(), fromPins: false };
  } catch (error) {
    if (!(error instanceof ShuntError) || error.code !== 'SHUNT_E_AGENT_DOWN') throw error;
    const { readPods } = await import('../datapath/ebpf/inspect.ts');
    const pinned = readPods(context.bpffs).map(pinnedRow);
    return { pods: [...pinned, ...heldRules(context.socket, ['whole']).map(ruledRow)], fromPins: true };
  }
}

function pinnedRow(pod: HeldPod & { identity: 'cgroup' | 'uid' }): PodRow {
  const { identity, ...held } = pod;
  return {
    namespace: null,
    name: null,
    uid: null,
    state: 'enrolled',
    reason: null,
    error: null,
    mesh: null,
    backend: 'ebpf',
    backendReason: null,
    others: [],
    ip4: pod.ip4,
    ip6: pod.ip6,
    netns: null,
    identity,
    policy: null,
    held,
  };
}

/** A pod that has rules of the iptables backend. */
function ruledRow({ path, cookie, ip4, ip6 }: RulesRemoval): PodRow {
  return {
    ...{ namespace: null, name: null, uid: null, reason: null, error: null, mesh: null },
    state: 'enrolled',
    backend: 'iptables',
    backendReason: null,
    others: [],
    ip4,
    ip6,
    netns: { path, cookie },
    identity: 'uid',
    policy: null,
    held: null,
  };
}

function podText(pod: PodRow, look: Look): string {
  const counters = Object.entries(pod.held?.counters ?? {});
  return [
    renderFields(FIELDS, pod, look),
    pod.policy === null ? '' : `\n${renderFields(POLICY_FIELDS, pod.policy, look)}`,
    counters.length === 0 ? '' : `\n${renderTable(COUNTER_COLUMNS, counters, look)}`,
  ].join('');
}

function nameOf(pod: PodRow): string {
  if (pod.name !== null) return `${pod.namespace}/${pod.name}`;
  return String(pod.netns?.cookie ?? pod.held?.cookie ?? '');
}

function held<T>(pod: PodRow, read: (held: HeldPod) => T): T | null {
  return pod.held === null ? null : read(pod.held);
}
