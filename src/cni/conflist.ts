/** Network configurations as container runtimes read them (libcni), and our entry in them. Pure: texts in, texts out. */
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { ShuntError } from '../errors.ts';

export const PLUGIN_TYPE = 'shunt-cni';

/** Our entry in the list of plugins. */
export interface PluginEntry {
  type: typeof PLUGIN_TYPE;
  socket: string;
  left: string;
  pass: { namespaces: string[]; pods: string[] };
}

/** What libcni takes for a file of configuration; of several the first by name is in force. */
const CONF_NAME = /\.(?:conf|conflist|json)$/;
const LIST_NAME = /\.conflist$/;
/** Not one of CONF_NAME, so that no runtime reads it. */
export const SAVED_SUFFIX = '.shunt-saved';
/** A list of ours in place of a single configuration sorts where that stood. */
const WRAPPED = /\.(?:conf|json)\.conflist$/;

const Plugin = v.looseObject({ type: v.pipe(v.string(), v.nonEmpty()) });
const List = v.looseObject({
  name: v.pipe(v.string(), v.nonEmpty()),
  plugins: v.pipe(v.array(Plugin), v.nonEmpty()),
});
export type Conflist = v.InferOutput<typeof List>;

/** @returns in the order in which runtimes look */
export function confNames(names: readonly string[]): string[] {
  return names.filter((name) => CONF_NAME.test(name)).sort();
}

export function isList(name: string): boolean {
  return LIST_NAME.test(name);
}

/** Name of the list that takes the place of a single configuration: right behind it in order. */
export function wrappedName(name: string): string {
  return `${name}.conflist`;
}

/** Name of the single configuration that a list of ours stands for; null for another file. */
export function unwrappedName(name: string): string | null {
  return WRAPPED.test(name) ? name.replace(LIST_NAME, '') : null;
}

/**
 * A file's configuration as a list: a single plugin becomes a list of one.
 *
 * @param name of the file: its ending says what it is
 * @throws SHUNT_E_CNI_CONF_INVALID when no runtime would take it either
 */
export function parseConf(name: string, text: string): Conflist {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const detail = text.trim() === '' ? 'it is empty' : 'it is not JSON';
    throw new ShuntError('SHUNT_E_CNI_CONF_INVALID', detail, { target: name, cause });
  }
  const parsed = isList(name) ? v.safeParse(List, value) : v.safeParse(Plugin, value);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const detail = `${v.getDotPath(issue) ?? 'it'}: ${issue.message}`;
    throw new ShuntError('SHUNT_E_CNI_CONF_INVALID', detail, { target: name });
  }
  return 'plugins' in parsed.output && isList(name) ? v.parse(List, value) : listOf(v.parse(Plugin, value));
}

function listOf(conf: v.InferOutput<typeof Plugin>): Conflist {
  const { cniVersion, name, ...plugin } = conf;
  return {
    cniVersion: typeof cniVersion === 'string' ? cniVersion : '0.3.1',
    // What the kubelet's own code called a network without a name.
    name: typeof name === 'string' && name !== '' ? name : 'k8s-pod-network',
    plugins: [plugin],
  };
}

/** Our entries in the list. */
export function entriesOf(list: Conflist): unknown[] {
  return list.plugins.filter(({ type }) => type === PLUGIN_TYPE);
}

/**
 * The list with our entry once and behind the primary plugin. It need not be the last: others append themselves too,
 * and two that insist would write for ever.
 *
 * @returns null when the list is so already
 */
export function withEntry(list: Conflist, entry: PluginEntry): Conflist | null {
  const [own, ...more] = entriesOf(list);
  const isBehind = list.plugins[0]?.type !== PLUGIN_TYPE;
  if (own !== undefined && more.length === 0 && isBehind && isDeepStrictEqual(own, { ...entry })) return null;
  const others = list.plugins.filter(({ type }) => type !== PLUGIN_TYPE);
  const at = list.plugins.slice(1).findIndex(({ type }) => type === PLUGIN_TYPE);
  // Ours with other settings stays where it stood.
  const place = isBehind && at >= 0 ? at + 1 : others.length;
  return { ...list, plugins: [...others.slice(0, place), { ...entry }, ...others.slice(place)] };
}

/** The list without us; null when we are not in it. */
export function withoutEntry(list: Conflist): Conflist | null {
  if (entriesOf(list).length === 0) return null;
  return { ...list, plugins: list.plugins.filter(({ type }) => type !== PLUGIN_TYPE) };
}

export function textOf(list: Conflist): string {
  return `${JSON.stringify(list, null, 2)}\n`;
}
