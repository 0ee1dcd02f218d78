/** One call of the plugin, as the runtime made it: read once, strictly, since its words come from outside. */
import { isAbsolute } from 'node:path';
import * as v from 'valibot';
import { ShuntError } from '../errors.ts';
import { canonicalAddress } from '../policy/address.ts';

/** Versions in which a plugin of a chain gets prevResult. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];
export const NEWEST_VERSION: CniVersion = '1.1.0';

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;
export type CniCommand = (typeof COMMANDS)[number];

/** One interface of one sandbox: what ADD adds and DEL takes away. */
export interface AttachmentId {
  containerId: string;
  ifname: string;
}

/** A pod as the kubelet names it; the UID is missing with older runtimes. */
export interface PodRef {
  namespace: string;
  name: string;
  uid: string | null;
}

interface Sandbox extends AttachmentId {
  /** Name of the network configuration. */
  network: string;
  /** Null where the runtime runs no pod of Kubernetes. */
  pod: PodRef | null;
}

export type CniCall =
  | ({ command: 'ADD' | 'CHECK'; netns: string; ips: string[] } & Sandbox)
  | ({ command: 'DEL'; netns: string | null } & Sandbox)
  /** `valid` is null where the runtime gave no list. */
  | { command: 'GC'; network: string; valid: AttachmentId[] | null }
  | { command: 'STATUS'; network: string };

/** libcni's own rule for container ids; the length keeps it a file name. */
const containerId = v.pipe(v.string(), v.maxLength(160), v.regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/));
/** dev_valid_name() of the kernel. */
const ifname = v.pipe(
  v.string(),
  v.maxLength(15),
  v.regex(/^[^\s/:\0]+$/),
  v.check((name) => name !== '.' && name !== '..'),
);
const dnsName = (length: number) =>
  v.pipe(v.string(), v.maxLength(length), v.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/));
const podUid = v.pipe(v.string(), v.maxLength(128), v.regex(/^[a-zA-Z0-9-]+$/));

const ipEntry = v.object({ address: v.string() });
const Config = v.object({
  cniVersion: v.picklist(CNI_VERSIONS),
  name: v.pipe(v.string(), v.nonEmpty(), v.maxLength(256)),
  prevResult: v.optional(v.object({ ips: v.optional(v.array(ipEntry), []) })),
  'cni.dev/valid-attachments': v.optional(v.array(v.object({ containerID: v.string(), ifname: v.string() }))),
});
export type CniConfig = v.InferOutput<typeof Config>;

/**
 * Reads a call.
 *
 * @param variables the CNI_ variables
 * @param stdin the network configuration
 * @throws SHUNT_E_CNI_VARIABLES, SHUNT_E_CNI_CONFIG
 */
export function readCall(variables: ReadonlyMap<string, string>, stdin: string): CniCall {
  const command = COMMANDS.find((known) => known === variables.get('CNI_COMMAND'));
  if (command === undefined) throw wrongVariable('CNI_COMMAND', variables);
  const config = readConfig(stdin);
  const network = config.name;
  if (command === 'STATUS') return { command, network };
  if (command === 'GC') {
    const valid = config['cni.dev/valid-attachments'] ?? null;
    const ids = valid?.map((each) => ({ containerId: each.containerID, ifname: each.ifname }));
    return { command, network, valid: ids ?? null };
  }
  const sandbox = {
    network,
    containerId: variable('CNI_CONTAINERID', containerId, variables),
    ifname: variable('CNI_IFNAME', ifname, variables),
    pod: podOf(variables),
  };
  const netns = variables.get('CNI_NETNS') ?? '';
  if (command === 'DEL') return { command, ...sandbox, netns: netns === '' ? null : netns };
  if (!isAbsolute(netns) || netns.includes('\0')) throw wrongVariable('CNI_NETNS', variables);
  return { command, ...sandbox, netns, ips: (config.prevResult?.ips ?? []).flatMap(addressOf) };
}

function readConfig(stdin: string): CniConfig {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (cause) {
    throw new ShuntError('SHUNT_E_CNI_CONFIG', 'it is not JSON', { cause });
  }
  const parsed = v.safeParse(Config, value);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw new ShuntError(
    'SHUNT_E_CNI_CONFIG',
    `${v.getDotPath(issue) ?? 'it'}: ${issue.message.slice(0, 200)}`,
  );
}

function variable<S extends v.GenericSchema<string, string>>(
  name: string,
  schema: S,
  variables: ReadonlyMap<string, string>,
): string {
  const parsed = v.safeParse(schema, variables.get(name) ?? '');
  if (parsed.success) return parsed.output;
  throw wrongVariable(name, variables);
}

function wrongVariable(name: string, variables: ReadonlyMap<string, string>): ShuntError {
  const value = variables.get(name);
  const found = value === undefined ? 'is missing' : `is ${JSON.stringify(value.slice(0, 100))}`;
  return new ShuntError('SHUNT_E_CNI_VARIABLES', `${name} ${found}`);
}

/** CNI_ARGS is `K=V;K=V` in an order that changes from call to call. */
function podOf(variables: ReadonlyMap<string, string>): PodRef | null {
  const found = new Map<string, string>();
  for (const pair of (variables.get('CNI_ARGS') ?? '').split(';')) {
    const [key = '', ...rest] = pair.split('=');
    if (!key.startsWith('K8S_POD_')) continue;
    const value = rest.join('=');
    const before = found.get(key);
    if (before !== undefined && before !== value)
      throw new ShuntError('SHUNT_E_CNI_VARIABLES', `CNI_ARGS has ${key.slice(0, 100)} twice`);
    found.set(key, value);
  }
  const [namespace, name, uid] = ['NAMESPACE', 'NAME', 'UID'].map((key) => found.get(`K8S_POD_${key}`));
  // A container of podman has a name and no namespace.
  if (namespace === undefined || name === undefined) return null;
  const parsed = v.safeParse(
    v.object({ namespace: dnsName(63), name: dnsName(253), uid: v.nullable(podUid) }),
    { namespace, name, uid: uid ?? null },
  );
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const key = `K8S_POD_${String(v.getDotPath(issue)).toUpperCase()}`;
  throw new ShuntError('SHUNT_E_CNI_VARIABLES', `${key} in CNI_ARGS is ${issue.received.slice(0, 100)}`);
}

function addressOf({ address }: { address: string }): string[] {
  const canonical = canonicalAddress(address.split('/')[0] ?? '');
  return canonical === null ? [] : [canonical];
}
