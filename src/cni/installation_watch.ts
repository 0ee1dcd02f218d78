/**
 * Keeps the plugin in the chain: primary plugins write their configuration anew when they start, are upgraded, or find
 * that somebody changed it.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errorReport, ShuntError } from '../errors.ts';
import { DirectoryAlarm } from '../pod/directory_alarm.ts';
import type { PluginEntry } from './conflist.ts';
import type { CniInstaller } from './installer.ts';
import type { CniLog } from './server.ts';

export interface WatchOptions {
  installer: CniInstaller;
  netDir: string;
  /** What our entry is to be now. */
  entry(): PluginEntry;
  signal: AbortSignal;
  log: CniLog;
}

/** Primary plugins write more than once in a row; a write of theirs takes about a millisecond. */
const DEBOUNCE_MS = 10;
/** A file system that reports nothing, and a directory that was replaced, are seen this late. */
const LOOK_MS = 500;

/** Until the signal, or until somebody uninstalled. */
export async function keepInstalled(options: WatchOptions): Promise<void> {
  const { installer, netDir, signal, log } = options;
  using alarm = new DirectoryAlarm(netDir, { debounceMs: DEBOUNCE_MS, rereadMs: LOOK_MS, signal });
  let told = '';
  installer.sweep();
  do {
    if (isUninstalled(options.entry().socket)) {
      log.info({ event: 'cni-uninstalled' }, 'the CNI plugin was uninstalled, and is not put back');
      return;
    }
    const error = attempt(options);
    const message = error?.message ?? '';
    if (error !== null && message !== told)
      log.warn({ event: 'cni-install', ...errorReport(error) }, message);
    told = message;
  } while (await alarm.next());
}

function attempt({ installer, entry, log }: WatchOptions): ShuntError | null {
  try {
    const changes = installer.install(entry());
    if (changes.length > 0) log.info({ event: 'cni-install', changes }, 'the CNI plugin is in the chain');
    return null;
  } catch (error) {
    if (!(error instanceof ShuntError)) throw error;
    return error;
  }
}

/** Beside the socket, where an agent that watches looks: what it would else put back stays out. */
function mark(socket: string): string {
  return join(dirname(socket), 'cni-uninstalled');
}

function isUninstalled(socket: string): boolean {
  return existsSync(mark(socket));
}

/** Tells a watching agent that it is to be, or not to be. */
export function setUninstalled(socket: string, uninstalled: boolean): void {
  if (!uninstalled) {
    rmSync(mark(socket), { force: true });
    return;
  }
  mkdirSync(dirname(socket), { recursive: true, mode: 0o755 });
  writeFileSync(mark(socket), '');
}
