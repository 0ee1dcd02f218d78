/** `shunt cni`: the plugin in the chain of this node's network. */
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { DEFAULT_CNI_BIN_DIR, DEFAULT_CNI_NET_DIR, DEFAULT_CNI_SOCKET } from '../agent/api.ts';
import { readSettings } from '../agent/settings_file.ts';
import { setUninstalled } from '../cni/installation_watch.ts';
import { CniInstaller, type Installation } from '../cni/installer.ts';
import { builtPlugin, pluginEntry } from '../cni/plugin_entry.ts';
import { removeRecords } from '../cni/records.ts';
import { errorReport, ShuntError } from '../errors.ts';
import { somebodyAnswers } from '../unix_socket.ts';
import type { Context } from './context.ts';
import { EXIT } from './failure.ts';
import { type Field, renderFields } from './output/table.ts';
import { write } from './output/writer.ts';

const Options = v.object({
  netDir: v.optional(v.string(), DEFAULT_CNI_NET_DIR),
  binDir: v.optional(v.string(), DEFAULT_CNI_BIN_DIR),
  cniSocket: v.optional(v.string(), DEFAULT_CNI_SOCKET),
  config: v.optional(v.string()),
  ownPods: v.optional(v.string()),
});
type Options = v.InferOutput<typeof Options>;

/** A watching agent that had looked just before it was told may put the entry back once more. */
const AGENT_NOTICES_MS = 300;

function installerOf({ netDir, binDir }: Options): CniInstaller {
  return new CniInstaller({ netDir, binDir, program: builtPlugin() });
}

export async function installCni(context: Context, given: unknown): Promise<undefined> {
  const options = v.parse(Options, given);
  const namespaces =
    options.config === undefined ? [] : (readSettings(options.config).excludeNamespaces ?? []);
  const entry = pluginEntry({ socket: options.cniSocket, namespaces, ownPods: options.ownPods ?? null });
  setUninstalled(options.cniSocket, false);
  await tell(context, installerOf(options).install(entry));
}

export async function uninstallCni(context: Context, given: unknown): Promise<undefined> {
  const options = v.parse(Options, given);
  const installer = installerOf(options);
  setUninstalled(options.cniSocket, true);
  installer.sweep();
  const changes = installer.uninstall();
  await delay(AGENT_NOTICES_MS);
  changes.push(...installer.uninstall());
  // An agent goes on with what it knows of the sandboxes, and is to leave the chain alone.
  if (!(await somebodyAnswers(options.cniSocket))) {
    removeRecords(options.cniSocket);
    setUninstalled(options.cniSocket, false);
  }
  await tell(context, changes);
}

async function tell({ io, format }: Context, changes: string[]): Promise<void> {
  await write(io, format, {
    data: { changes },
    names: () => [],
    text: () => changes.map((change) => `${change}\n`).join('') || 'nothing to do\n',
  });
}

/** JSON shape of `shunt cni status`. */
interface CniStatus {
  netDir: string;
  file: string | null;
  chained: boolean;
  entry: unknown;
  invalid: { file: string; code: string; message: string; fix: string }[];
  program: Installation['program'];
  /** What STATUS says through the installed plugin; null where it is not installed. */
  answers: { ok: boolean; message: string } | null;
}

const FIELDS: readonly Field<CniStatus>[] = [
  {
    label: 'Configuration',
    value: ({ file }) => file,
    tone: ({ file }) => (file === null ? 'bad' : undefined),
  },
  { label: 'Chained', value: ({ chained }) => chained, tone: ({ chained }) => (chained ? 'good' : 'bad') },
  { label: 'Plugin', value: ({ program }) => `${program.path} (${program.state})` },
  {
    label: 'Agent',
    value: ({ answers }) => answers?.message ?? null,
    tone: ({ answers }) => (answers?.ok ? 'good' : 'bad'),
  },
  {
    label: 'Invalid files',
    value: ({ invalid }) => invalid.map(({ message }) => message).join('; ') || null,
    tone: () => 'warn',
  },
];

/** Exit 1 when the plugin is not in the chain, or ADD could not be served. */
export async function cniStatus(context: Context, given: unknown): Promise<number> {
  const options = v.parse(Options, given);
  const installed = installerOf(options).status();
  const status: CniStatus = {
    netDir: options.netDir,
    ...installed,
    invalid: installed.invalid.map(({ file, error }) => ({ file, ...errorReport(error) })),
    answers: installed.chained && installed.program.state !== 'missing' ? askStatus(installed) : null,
  };
  await write(context.io, context.format, {
    data: status,
    names: () => (status.file === null ? [] : [`cni/${status.file}`]),
    text: (look) => renderFields(FIELDS, status, look),
  });
  return status.chained && status.answers?.ok === true ? EXIT.ok : EXIT.failed;
}

const PluginError = v.object({ msg: v.string() });

function askStatus({ program, entry }: Installation): { ok: boolean; message: string } {
  const config = { cniVersion: '1.1.0', name: 'shunt-status', deadlineMs: 5_000 };
  const { status, stdout, error } = spawnSync(program.path, [], {
    env: { CNI_COMMAND: 'STATUS', CNI_PATH: dirname(program.path) },
    input: JSON.stringify({ ...(typeof entry === 'object' ? entry : {}), ...config }),
    encoding: 'utf8',
  });
  if (error !== undefined) return { ok: false, message: `the plugin cannot be run: ${error.message}` };
  if (status === 0) return { ok: true, message: 'serves ADD' };
  try {
    return { ok: false, message: v.parse(PluginError, JSON.parse(stdout)).msg };
  } catch (cause) {
    throw new ShuntError('SHUNT_E_CNI_CONFIG', 'the installed plugin gave no answer of CNI', {
      target: program.path,
      cause,
    });
  }
}
