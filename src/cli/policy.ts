import { readFileSync } from 'node:fs';
import { text as readAll } from 'node:stream/consumers';
import * as v from 'valibot';
import type { PodReport } from '../agent/api.ts';
import { AgentClient } from '../agent/client.ts';
import { ShuntError } from '../errors.ts';
import type { PolicyNote, ProfileContext } from '../mesh/profile.ts';
import { MESH_PROFILES, recognise } from '../mesh/recognise.ts';
import { parseManifest } from '../pod/manifest.ts';
import { explainPolicy, type PolicyRule } from '../policy/explain.ts';
import type { Acceleration, RedirectPolicy } from '../policy/policy.ts';
import type { Context } from './context.ts';
import { EXIT } from './failure.ts';
import { type Column, type Field, type Look, renderFields, renderTable } from './output/table.ts';
import { write } from './output/writer.ts';
import { pickPod } from './pod.ts';
import { POLICY_FIELDS } from './policy_view.ts';
import { profileContext } from './profile_context.ts';

/** JSON shape of `shunt policy show`: one for each pod. */
export interface PolicyAnswer {
  namespace: string;
  name: string;
  /** redirect: policy stands; leave, failed: reason stands; reject: reason or notes say which annotations. */
  kind: 'redirect' | 'leave' | 'reject' | 'failed';
  reason: string | null;
  policy: RedirectPolicy | null;
  sidecarContainer: string | null;
  acceleration: Acceleration | null;
  notes: PolicyNote[];
  /** With --rules: in the order in which they are tried; none without a policy. */
  rules?: PolicyRule[];
}

const Options = v.object({
  file: v.optional(v.string()),
  config: v.optional(v.string()),
  rules: v.optional(v.boolean(), false),
});

const VERDICTS = { redirect: 'redirect', leave: 'left alone', reject: 'rejected', failed: 'failed' } as const;

const HEAD: readonly Field<PolicyAnswer>[] = [
  { label: 'Pod', value: ({ namespace, name }) => `${namespace}/${name}` },
  {
    label: 'Verdict',
    value: ({ kind }) => VERDICTS[kind],
    tone: ({ kind }) => (kind === 'reject' || kind === 'failed' ? 'bad' : undefined),
  },
];
const REASON: readonly Field<PolicyAnswer>[] = [{ label: 'Reason', value: ({ reason }) => reason }];
const POLICY: readonly Field<PolicyAnswer>[] = POLICY_FIELDS.map(({ label, value, wide = false }) => ({
  label,
  wide,
  value: ({ policy }) => (policy === null ? null : value(policy)),
}));
const SIDECAR: readonly Field<PolicyAnswer>[] = [
  { label: 'Sidecar container', value: ({ sidecarContainer }) => sidecarContainer },
];
const ACCELERATION: readonly Field<PolicyAnswer>[] = [
  { label: 'Acceleration', value: ({ acceleration }) => acceleration },
];

const NOTE_COLUMNS: readonly Column<PolicyNote>[] = [
  { head: 'ANNOTATION', cell: (note) => note.annotation },
  { head: 'VALUE', cell: (note) => note.value },
  { head: 'PROBLEM', cell: (note) => note.message },
];

const RULE_COLUMNS: readonly Column<PolicyRule>[] = [
  { head: 'DIRECTION', cell: (rule) => rule.direction },
  { head: 'CONNECTIONS', cell: (rule) => rule.when },
  { head: 'ARE', cell: (rule) => rule.then },
  { head: 'RULE', wide: true, cell: (rule) => rule.rule },
];

/**
 * What a mesh wants done to the pods of a file, or to one the agent knows. Exit 1 when an annotation is rejected.
 *
 * @throws SHUNT_E_USAGE, SHUNT_E_FILE, SHUNT_E_POD_UNKNOWN, and the codes of a bad manifest
 */
export async function showPolicy(context: Context, [pod]: string[], given: unknown): Promise<number> {
  const { file, config, rules } = v.parse(Options, given);
  if ((file === undefined) === (pod === undefined)) {
    throw new ShuntError('SHUNT_E_USAGE', 'give either a pod or a file of manifests', {
      fix: '`shunt policy show POD`, or `shunt policy show -f FILE`',
    });
  }
  const settings = profileContext(config, file);
  const found = file === undefined ? [await ofKnownPod(context, pod ?? '')] : await ofFile(file, settings);
  const answers = rules ? found.map(withRules) : found;
  await write(context.io, context.format, {
    data: answers,
    names: () => answers.map(({ namespace, name }) => `policy/${namespace}/${name}`),
    text: (look) => answers.map((answer) => answerText(answer, look)).join('\n'),
  });
  return answers.some(({ kind }) => kind === 'reject') ? EXIT.failed : EXIT.ok;
}

async function ofFile(file: string, settings: ProfileContext): Promise<PolicyAnswer[]> {
  const name = file === '-' ? 'stdin' : file;
  const answers = parseManifest(await readManifests(file), name).map((pod): PolicyAnswer => {
    const recognition = recognise(pod, MESH_PROFILES, settings);
    return {
      namespace: pod.metadata.namespace,
      name: pod.metadata.name,
      reason: null,
      policy: null,
      sidecarContainer: null,
      acceleration: null,
      notes: [],
      ...recognition,
    };
  });
  if (answers.length === 0) throw new ShuntError('SHUNT_E_FILE', 'there is no Pod in it', { target: name });
  return answers;
}

/** @param file path, or `-` for stdin; @throws SHUNT_E_FILE */
export async function readManifests(file: string): Promise<string> {
  try {
    return file === '-' ? await readAll(process.stdin) : readFileSync(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : undefined;
    throw new ShuntError('SHUNT_E_FILE', why, { target: file, cause });
  }
}

async function ofKnownPod(context: Context, wanted: string): Promise<PolicyAnswer> {
  const pod = pickPod(await new AgentClient(context.socket).pods(), wanted);
  return {
    namespace: pod.namespace,
    name: pod.name,
    kind: kindOf(pod),
    reason: pod.reason ?? pod.error?.message ?? null,
    policy: pod.policy,
    sidecarContainer: null,
    acceleration: pod.held?.acceleration ?? null,
    notes: [],
  };
}

function kindOf({ policy, state, error }: PodReport): PolicyAnswer['kind'] {
  if (policy !== null) return 'redirect';
  if (state !== 'failed') return 'leave';
  return error?.code === 'SHUNT_E_MESH_REJECTED' ? 'reject' : 'failed';
}

function withRules(answer: PolicyAnswer): PolicyAnswer {
  return { ...answer, rules: answer.policy === null ? [] : explainPolicy(answer.policy) };
}

/** With --rules the rules stand in place of the settings that they come from. */
function answerText(answer: PolicyAnswer, look: Look): string {
  const { policy, reason, sidecarContainer, notes, rules } = answer;
  const settings = rules === undefined ? [...POLICY, ...ACCELERATION] : POLICY.slice(0, 1);
  const fields = [
    ...HEAD,
    ...(reason === null ? [] : REASON),
    ...(policy === null ? [] : settings),
    ...(sidecarContainer === null || rules !== undefined ? [] : SIDECAR),
  ];
  const ruleTable = rules?.length ? `\n${renderTable(RULE_COLUMNS, rules, look)}` : '';
  const table = notes.length === 0 ? '' : `\n${renderTable(NOTE_COLUMNS, notes, look)}`;
  return renderFields(fields, answer, look) + ruleTable + table;
}
