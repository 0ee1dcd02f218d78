import * as v from 'valibot';
import { renderDocument } from '../datapath/iptables/render.ts';
import { ShuntError } from '../errors.ts';
import type { PolicyNote, ProfileContext } from '../mesh/profile.ts';
import { MESH_PROFILES, recognise } from '../mesh/recognise.ts';
import { parseManifest } from '../pod/manifest.ts';
import type { PodObject } from '../pod/workload.ts';
import type { AddressFamily } from '../policy/address.ts';
import type { Context } from './context.ts';
import { EXIT } from './failure.ts';
import { write } from './output/writer.ts';
import { readManifests } from './policy.ts';
import { profileContext } from './profile_context.ts';

const FAMILIES = { ipv4: 4, ipv6: 6 } as const satisfies Record<string, AddressFamily>;
type FamilyName = keyof typeof FAMILIES;

/** JSON shape of `shunt iptables render`: one for each pod. */
export interface RulesAnswer {
  namespace: string;
  name: string;
  kind: 'redirect' | 'leave' | 'reject';
  reason: string | null;
  /** One for each family that the mesh installs rules for. */
  documents: { family: FamilyName; document: string }[];
  notes: PolicyNote[];
}

const Options = v.object({
  file: v.string(),
  config: v.optional(v.string()),
  family: v.optional(v.picklist(['ipv4', 'ipv6'])),
});

/**
 * The rules of the pods of a file, as the backend would apply them. Exit 1 when an annotation is rejected.
 *
 * @throws SHUNT_E_FILE, SHUNT_E_POLICY, and the codes of a bad manifest
 */
export async function renderIptables(context: Context, given: unknown): Promise<number> {
  const { file, family, config } = v.parse(Options, given);
  const name = file === '-' ? 'stdin' : file;
  const families: readonly FamilyName[] = family === undefined ? ['ipv4', 'ipv6'] : [family];
  const settings = profileContext(config, file);
  const answers = parseManifest(await readManifests(file), name).map((pod) =>
    answerOf(pod, families, settings),
  );
  if (answers.length === 0) throw new ShuntError('SHUNT_E_FILE', 'there is no Pod in it', { target: name });
  await write(context.io, context.format, {
    data: answers,
    names: () => answers.map((answer) => `iptables/${answer.namespace}/${answer.name}`),
    text: () => answers.map(answerText).join(''),
  });
  return answers.some(({ kind }) => kind === 'reject') ? EXIT.failed : EXIT.ok;
}

function answerOf(pod: PodObject, families: readonly FamilyName[], settings: ProfileContext): RulesAnswer {
  const { namespace, name } = pod.metadata;
  const recognition = recognise(pod, MESH_PROFILES, settings);
  const answer: RulesAnswer = {
    namespace,
    name,
    kind: recognition.kind,
    reason: null,
    documents: [],
    notes: [],
  };
  if (recognition.kind === 'leave') return { ...answer, reason: recognition.reason };
  if (recognition.kind === 'reject') return { ...answer, notes: recognition.notes };
  const { policy, notes } = recognition;
  const documents = families.flatMap((family) => {
    const address = pod.status.podIPs.find((ip) => ip.includes(':') === (family === 'ipv6')) ?? null;
    const document = renderDocument(policy, FAMILIES[family], address);
    return document === '' ? [] : [{ family, document }];
  });
  return { ...answer, documents, notes };
}

/** Everything but rules is a comment, so that the whole can be given to iptables-restore. */
function answerText({ namespace, name, kind, reason, documents, notes }: RulesAnswer): string {
  const said = [
    ...(kind === 'leave' ? [`left alone: ${reason}`] : []),
    ...(kind === 'reject' ? ['rejected'] : []),
    ...notes.map((note) => `${note.annotation}=${JSON.stringify(note.value)}: ${note.message}`),
  ];
  const comment = (text: string): string => `# ${namespace}/${name}: ${text.replace(/\s+/g, ' ')}\n`;
  return [
    ...said.map(comment),
    ...documents.map(({ family, document }) => `${comment(family === 'ipv4' ? 'IPv4' : 'IPv6')}${document}`),
  ].join('');
}
