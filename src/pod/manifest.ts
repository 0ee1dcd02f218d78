/**
 * Pod manifests: YAML or JSON, several documents, List and PodList. Read as far as Shunt needs, and strictly: a value
 * of the wrong type is refused, as the API server would refuse it, rather than guessed at.
 */
import * as v from 'valibot';
import { isScalar, Lexer, LineCounter, parseAllDocuments, visit, type YAMLMap } from 'yaml';
import { ShuntError } from '../errors.ts';
import { canonicalAddress } from '../policy/address.ts';
import type { PodObject } from './workload.ts';

/** What the API server takes, too (etcd's limit is 1.5 MiB). */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
/** References to YAML anchors in one document; more is an attack or an accident. */
const MAX_ALIASES = 100;
/** Brackets open at once; a Pod needs about ten. */
const MAX_NESTING = 100;

const dnsName = (maxLength: number) =>
  v.pipe(
    v.string(),
    v.maxLength(maxLength),
    v.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'expected lower-case letters, digits, "-" and "."'),
  );

const stringMap = v.nullish(v.record(v.string(), v.string()), {});
const id = v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0x7fff_ffff)));
const address = v.pipe(
  v.string(),
  v.check((text) => canonicalAddress(text) !== null, 'expected an IP address'),
  v.transform((text) => canonicalAddress(text) ?? text),
);

const envEntry = v.object({ name: v.string(), value: v.nullish(v.string()) });

const container = v.pipe(
  v.object({
    name: dnsName(63),
    args: v.nullish(v.array(v.string()), []),
    env: v.nullish(v.array(envEntry), []),
    restartPolicy: v.nullish(v.string()),
    securityContext: v.nullish(v.object({ runAsUser: id, runAsGroup: id })),
  }),
  v.transform(({ name, args, env, restartPolicy, securityContext }) => ({
    name,
    args,
    // A value that comes from elsewhere (valueFrom) reads as empty, which is what the meshes' plugins see.
    env: Object.fromEntries(env.map((entry) => [entry.name, entry.value ?? ''])),
    restartPolicy: restartPolicy ?? undefined,
    runAsUser: securityContext?.runAsUser ?? undefined,
    runAsGroup: securityContext?.runAsGroup ?? undefined,
  })),
);
const containers = v.nullish(v.array(container), []);

const podSchema = v.pipe(
  v.object({
    apiVersion: v.literal('v1'),
    metadata: v.object({
      name: dnsName(253),
      namespace: v.nullish(dnsName(63)),
      uid: v.nullish(v.pipe(v.string(), v.nonEmpty(), v.maxLength(128))),
      labels: stringMap,
      annotations: stringMap,
    }),
    spec: v.object({
      hostNetwork: v.nullish(v.boolean(), false),
      dnsPolicy: v.nullish(v.string()),
      dnsConfig: v.nullish(v.object({ nameservers: v.nullish(v.array(address)) })),
      containers,
      initContainers: containers,
    }),
    status: v.nullish(
      v.object({
        podIP: v.nullish(v.union([v.literal(''), address])),
        podIPs: v.nullish(v.array(v.object({ ip: address })), []),
      }),
    ),
  }),
  v.transform(({ metadata, spec: { dnsPolicy, dnsConfig, ...spec }, status }): PodObject => {
    const nameservers = dnsConfig?.nameservers;
    const podIPs = (status?.podIPs ?? []).map(({ ip }) => ip);
    if (podIPs.length === 0 && status?.podIP) podIPs.push(status.podIP);
    return {
      metadata: {
        ...metadata,
        namespace: metadata.namespace ?? 'default',
        uid: metadata.uid ?? undefined,
      },
      spec: {
        ...spec,
        ...(dnsPolicy ? { dnsPolicy } : {}),
        ...(nameservers ? { nameservers } : {}),
      },
      status: { podIPs: [...new Set(podIPs)] },
    };
  }),
);

/**
 * The pods of a manifest, in its order; none when it is empty.
 *
 * @param file named in errors
 * @throws SHUNT_E_MANIFEST_TOO_LARGE, SHUNT_E_MANIFEST_SYNTAX, SHUNT_E_MANIFEST_NOT_POD, SHUNT_E_MANIFEST_FIELD
 */
export function parseManifest(text: string, file: string): PodObject[] {
  if (Buffer.byteLength(text) > MAX_MANIFEST_BYTES) {
    throw new ShuntError('SHUNT_E_MANIFEST_TOO_LARGE', undefined, { target: file });
  }
  return readDocuments(text, file)
    .filter((document) => document !== null && document !== undefined)
    .flatMap((document, index, all) => {
      const place = all.length === 1 ? '' : `document ${index + 1}: `;
      return itemsOf(document, place, file).map(({ item, path }) => podOf(item, path, file));
    });
}

function readDocuments(text: string, file: string): unknown[] {
  const json = readJson(text);
  if (json !== undefined) return [json];
  try {
    checkNesting(text);
    const lines = new LineCounter();
    // kubectl's YAML knows merge keys (`<<`), so manifests may use them. The library's own test for duplicate keys
    // compares each with each: 14 s for the largest manifest.
    const options = { merge: true, uniqueKeys: false, lineCounter: lines, logLevel: 'error' } as const;
    return parseAllDocuments(text, options).map((document) => {
      const [error] = document.errors;
      if (error !== undefined) throw error;
      visit(document, { Map: (_, map) => checkKeys(map, lines) });
      return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
    });
  } catch (cause) {
    throw syntaxError(cause, file);
  }
}

/** Each open bracket costs the parser a stack frame, and its recovery from an overflow takes seconds. */
function checkNesting(text: string): void {
  let depth = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') depth++;
    else if (token === ']' || token === '}') depth--;
    if (depth > MAX_NESTING) throw new RangeError(`more than ${MAX_NESTING} brackets open`);
  }
}

function checkKeys(map: YAMLMap, lines: LineCounter): void {
  const seen = new Set<unknown>();
  for (const { key } of map.items) {
    if (!isScalar(key)) continue;
    if (seen.has(key.value)) {
      const { line } = lines.linePos(key.range?.[0] ?? 0);
      throw new Error(
        `the key ${JSON.stringify(key.value)} stands twice in one mapping, again at line ${line}`,
      );
    }
    seen.add(key.value);
  }
}

/** Most manifests that start with a brace are JSON, which reads fifty times faster than as YAML. */
function readJson(text: string): unknown {
  if (!/^\uFEFF?\s*\{/.test(text)) return undefined;
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    // A flow mapping of YAML looks alike; that parser also says where an error is.
    return undefined;
  }
}

function syntaxError(cause: unknown, file: string): ShuntError {
  const message = cause instanceof Error ? cause.message : String(cause);
  if (message.includes('Excessive alias count')) {
    return new ShuntError('SHUNT_E_MANIFEST_TOO_LARGE', `more than ${MAX_ALIASES} YAML aliases`, {
      target: file,
      cause,
    });
  }
  if (cause instanceof RangeError || message.includes('call stack')) {
    return new ShuntError('SHUNT_E_MANIFEST_SYNTAX', 'nested too deeply', { target: file, cause });
  }
  // The first line ends with "at line L, column C:"; a drawing of the place follows.
  const [summary = ''] = message.split('\n');
  return new ShuntError('SHUNT_E_MANIFEST_SYNTAX', `not YAML: ${summary.replace(/:$/, '')}`, {
    target: file,
    cause,
  });
}

const objectSchema = v.object({
  kind: v.optional(v.unknown()),
  metadata: v.optional(v.unknown()),
  items: v.optional(v.unknown()),
});
const nameSchema = v.object({ name: v.string() });

function itemsOf(document: unknown, path: string, file: string): { item: unknown; path: string }[] {
  const object = v.safeParse(objectSchema, document);
  if (!object.success || Array.isArray(document)) {
    throw new ShuntError('SHUNT_E_MANIFEST_NOT_POD', `${path}not a Kubernetes object`, { target: file });
  }
  const { kind, items } = object.output;
  if (kind === 'List' || kind === 'PodList') {
    const list = v.safeParse(v.nullish(v.array(v.unknown()), []), items);
    if (!list.success) throw fieldError(`${path}items`, list.issues[0], file);
    // Items of a PodList as the API server sends it carry neither kind nor apiVersion.
    const implied = kind === 'PodList' ? { apiVersion: 'v1', kind: 'Pod' } : {};
    return list.output.map((item, index) => ({
      item: isObject(item) ? { ...implied, ...item } : item,
      path: `${path}items[${index}].`,
    }));
  }
  return [{ item: document, path }];
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A Pod object as the API server sends it, alone or as an item of a list.
 *
 * @param target named in errors
 * @throws SHUNT_E_MANIFEST_FIELD
 */
export function readPodObject(object: unknown, target: string): PodObject {
  const pod = v.safeParse(podSchema, isObject(object) ? { ...object, apiVersion: 'v1' } : object);
  if (!pod.success) throw fieldError('', pod.issues[0], target);
  return pod.output;
}

function podOf(item: unknown, path: string, file: string): PodObject {
  const object = v.safeParse(objectSchema, item);
  const kind = object.success ? object.output.kind : undefined;
  if (!object.success || kind !== 'Pod') {
    const named = v.safeParse(nameSchema, object.success ? object.output.metadata : undefined);
    const what = typeof kind === 'string' ? `a ${kind}` : 'an object without a kind';
    const name = named.success ? ` ${JSON.stringify(named.output.name)}` : '';
    throw new ShuntError('SHUNT_E_MANIFEST_NOT_POD', `${path}${what}${name}, not a Pod`, { target: file });
  }
  const pod = v.safeParse(podSchema, item);
  if (!pod.success) throw fieldError(path, pod.issues[0], file);
  return pod.output;
}

function fieldError(path: string, issue: v.BaseIssue<unknown>, file: string): ShuntError {
  const field = `${path}${dotPath(issue)}`.replace(/\.$/, '');
  return new ShuntError('SHUNT_E_MANIFEST_FIELD', `${field}: ${problemOf(issue)}`, { target: file });
}

function problemOf(issue: v.BaseIssue<unknown>): string {
  if (issue.received === 'undefined') return 'is missing';
  // Checks of ours say "expected ..." themselves; the library's say what they wanted and what stood there.
  const expected = issue.message.startsWith('expected')
    ? issue.message
    : `expected ${issue.expected ?? 'another value'}`;
  return `${expected}, found ${issue.received.slice(0, 100)}`;
}

function dotPath(issue: v.BaseIssue<unknown>): string {
  return (issue.path ?? [])
    .map(({ key }, index) =>
      typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`,
    )
    .join('');
}
