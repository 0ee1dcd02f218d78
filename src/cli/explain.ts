import * as v from 'valibot';
import { AgentClient } from '../agent/client.ts';
import { ShuntError } from '../errors.ts';
import type { ProfileContext } from '../mesh/profile.ts';
import { MESH_PROFILES, recognise } from '../mesh/recognise.ts';
import { parseManifest } from '../pod/manifest.ts';
import type { PodObject } from '../pod/workload.ts';
import type { RedirectPolicy } from '../policy/policy.ts';
import type { Context } from './context.ts';
import { type Decision, decide, type Place } from './explain/decision.ts';
import { type Question, readQuestion } from './explain/question.ts';
import { ruleInWords } from './explain/words.ts';
import { EXIT } from './failure.ts';
import { type Field, renderFields } from './output/table.ts';
import { write } from './output/writer.ts';
import { pickPod } from './pod.ts';
import { readManifests } from './policy.ts';
import { profileContext } from './profile_context.ts';

/** JSON shape of `shunt explain`: one for each pod. */
export interface Explanation extends Decision {
  namespace: string;
  name: string;
  mesh: string | null;
  connection: {
    direction: Question['direction'];
    protocol: Question['protocol'];
    from: string | null;
    to: string | null;
    port: number;
    uid: number | null;
    gid: number | null;
  };
  /** The rule in words. */
  because: string | null;
}

const Options = v.object({ file: v.optional(v.string()), config: v.optional(v.string()) });

const FIELDS: readonly Field<Explanation>[] = [
  { label: 'Pod', value: ({ namespace, name }) => `${namespace}/${name}` },
  { label: 'Connection', value: connectionText },
  {
    label: 'Verdict',
    value: ({ verdict }) => verdict ?? 'not decided',
    tone: ({ verdict }) => (verdict === null || verdict === 'refuse' ? 'bad' : undefined),
  },
  {
    label: 'Goes to',
    value: ({ target }) => {
      if (target === null) return null;
      return target.address === null ? `port ${target.port}` : `${target.address} port ${target.port}`;
    },
  },
  { label: 'Rule', value: ({ rule }) => rule },
  { label: 'Because', value: ({ because }) => because },
];

/**
 * What becomes of one connection of a pod, and by which rule. Exit 1 when the pod's annotations are rejected.
 *
 * @throws SHUNT_E_USAGE, SHUNT_E_FILE, SHUNT_E_POD_UNKNOWN, SHUNT_E_OBJECT_MISSING, and the codes of a bad manifest
 */
export async function explain(context: Context, [pod]: string[], given: unknown): Promise<number> {
  const { file, config } = v.parse(Options, given);
  if ((file === undefined) === (pod === undefined)) {
    throw new ShuntError('SHUNT_E_USAGE', 'give either a pod or a file of manifests', {
      fix: '`shunt explain POD …`, or `shunt explain -f FILE …`',
    });
  }
  const question = readQuestion(given);
  const settings = profileContext(config, file);
  const asked =
    file === undefined
      ? [await explainKnown(context, pod ?? '', question)]
      : (await podsOf(file)).map((manifest) => explainManifest(manifest, question, settings));
  const answers = asked.map(({ answer }) => answer);
  await write(context.io, context.format, {
    data: answers,
    names: () => answers.map(({ namespace, name }) => `explanation/${namespace}/${name}`),
    text: (look) =>
      answers
        .map((answer) => {
          const notes = answer.notes.map((note) => `  note: ${note}\n`).join('');
          return renderFields(FIELDS, answer, look) + notes;
        })
        .join('\n'),
  });
  return asked.some(({ rejected }) => rejected) ? EXIT.failed : EXIT.ok;
}

async function podsOf(file: string): Promise<PodObject[]> {
  const name = file === '-' ? 'stdin' : file;
  const pods = parseManifest(await readManifests(file), name);
  if (pods.length === 0) throw new ShuntError('SHUNT_E_FILE', 'there is no Pod in it', { target: name });
  return pods;
}

interface Asked {
  answer: Explanation;
  rejected: boolean;
}

function explainManifest(pod: PodObject, question: Question, settings: ProfileContext): Asked {
  const recognition = recognise(pod, MESH_PROFILES, settings);
  const { metadata } = pod;
  if (recognition.kind === 'redirect') {
    const place = { addresses: pod.status.podIPs, backend: null, listeners: null };
    return { answer: captured(metadata, recognition.policy, place, question), rejected: false };
  }
  if (recognition.kind === 'leave') {
    return { answer: leftAlone(metadata, recognition.reason, question), rejected: false };
  }
  const notes = recognition.notes.map(
    ({ annotation, value, message }) => `${annotation}=${value}: ${message}`,
  );
  const answer = unanswered(
    metadata,
    question,
    'its annotations are rejected: it would not be enrolled',
    notes,
  );
  return { answer, rejected: true };
}

async function explainKnown(context: Context, wanted: string, question: Question): Promise<Asked> {
  const client = new AgentClient(context.socket);
  const pod = pickPod(await client.pods(), wanted);
  if (pod.policy !== null) {
    const { ip4, ip6, held } = pod;
    const addresses = [ip4, ip6].filter((address) => address !== null);
    // Only eBPF keeps the sidecar's listeners: rules of iptables name a port and no socket.
    const listeners = pod.backend === 'ebpf' && held?.inbound === true ? held.listeners : null;
    const place = { addresses, backend: pod.backend, listeners };
    return { answer: captured(pod, pod.policy, place, question), rejected: false };
  }
  if (pod.state !== 'failed') {
    return { answer: leftAlone(pod, pod.reason ?? 'no mesh wants it', question), rejected: false };
  }
  const why = pod.error?.message ?? 'it could not be enrolled';
  const rejected = pod.error?.code === 'SHUNT_E_MESH_REJECTED';
  return { answer: unanswered(pod, question, why, []), rejected };
}

type Named = Pick<Explanation, 'namespace' | 'name'>;

function captured(
  { namespace, name }: Named,
  policy: RedirectPolicy,
  place: Place,
  question: Question,
): Explanation {
  const { verdict, target, rule, notes } = decide(policy, place, question);
  const because = rule === null ? null : ruleInWords(rule, policy, question);
  const connection = connectionOf(question);
  return { namespace, name, mesh: policy.mesh, connection, verdict, target, rule, because, notes };
}

function leftAlone({ namespace, name }: Named, reason: string, question: Question): Explanation {
  const connection = connectionOf(question);
  const because = `the pod is left alone: ${reason}`;
  const nothing = { mesh: null, target: null, notes: [] };
  return { namespace, name, ...nothing, connection, verdict: 'pass', rule: 'left-alone', because };
}

function unanswered(
  { namespace, name }: Named,
  question: Question,
  because: string,
  notes: string[],
): Explanation {
  const connection = connectionOf(question);
  return { namespace, name, mesh: null, connection, verdict: null, target: null, rule: null, because, notes };
}

function connectionOf(question: Question): Explanation['connection'] {
  const { direction, protocol, port } = question;
  const from = question.from?.text ?? null;
  if (question.direction === 'inbound') {
    return { direction, protocol, from, to: null, port, uid: null, gid: null };
  }
  return { direction, protocol, from, to: question.to.text, port, uid: question.uid, gid: question.gid };
}

function connectionText({ connection }: Explanation): string {
  const { direction, protocol, from, to, port, uid, gid } = connection;
  const name = protocol.toUpperCase();
  if (direction === 'inbound') return `${name} from ${from} to port ${port}`;
  const source = from === null ? '' : ` from ${from}`;
  const target = to?.includes(':') ? `[${to}]:${port}` : `${to}:${port}`;
  return `${name}${source} to ${target}, of uid ${uid} and gid ${gid}`;
}
