/** The plugin as it was built, and our entry for it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { packageRoot } from '../package_root.ts';
import { PLUGIN_TYPE, type PluginEntry } from './conflist.ts';
import { recordDirectories } from './records.ts';

/**
 * Path of the built plugin.
 *
 * @throws SHUNT_E_CNI_PLUGIN_MISSING
 */
export function builtPlugin(): string {
  const path = join(packageRoot(), 'dist', PLUGIN_TYPE);
  if (!existsSync(path)) throw new ShuntError('SHUNT_E_CNI_PLUGIN_MISSING', undefined, { target: path });
  return path;
}

export interface EntryOptions {
  /** The agent's socket for the plugin. */
  socket: string;
  /** Namespaces that the agent's settings exclude: the plugin must not pass others, nor hold these up. */
  namespaces: readonly string[];
  /** `NAMESPACE/PREFIX` of the agent's own pods; null where it runs none with a network of its own. */
  ownPods: string | null;
}

/** @throws SHUNT_E_USAGE for own pods that are not NAMESPACE/PREFIX: an empty prefix would pass all */
export function pluginEntry({ socket, namespaces, ownPods }: EntryOptions): PluginEntry {
  if (ownPods !== null && !/^[a-z0-9][-a-z0-9]*\/[a-z0-9][-a-z0-9.]*$/.test(ownPods)) {
    throw new ShuntError(
      'SHUNT_E_USAGE',
      `own pods are given as NAMESPACE/PREFIX, not ${ownPods.slice(0, 100)}`,
    );
  }
  return {
    type: PLUGIN_TYPE,
    socket,
    left: recordDirectories(socket).left,
    pass: { namespaces: [...namespaces], pods: ownPods === null ? [] : [ownPods] },
  };
}
