/** The operator's settings file: read whole or not at all, and read again when it changes. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { parse as parseYaml } from 'yaml';
import { ShuntError } from '../errors.ts';
import { type MeshSettings, MeshSettingsSchema } from '../mesh/settings.ts';
import { DirectoryAlarm } from '../pod/directory_alarm.ts';

/** Five thousand CIDRs are a tenth of this. */
const MAX_LENGTH = 1024 * 1024;

/**
 * Settings of a file, YAML or JSON. An empty file has none.
 *
 * @throws SHUNT_E_FILE when it cannot be read, SHUNT_E_SETTINGS with the key that is wrong
 */
export function readSettings(file: string): MeshSettings {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : undefined;
    throw new ShuntError('SHUNT_E_FILE', why, { target: file, cause });
  }
  return parseSettings(text, file);
}

/** @param file named in errors; throws as readSettings */
export function parseSettings(text: string, file: string): MeshSettings {
  if (text.length > MAX_LENGTH) throw wrong(file, 'it is larger than 1 MiB');
  let value: unknown;
  try {
    value = parseYaml(text, { maxAliasCount: 100, logLevel: 'error' });
  } catch (cause) {
    const [summary = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
    throw wrong(file, `not YAML: ${summary.replace(/:$/, '')}`);
  }
  if (Array.isArray(value)) throw wrong(file, 'it is a list, not a mapping of settings');
  const parsed = v.safeParse(MeshSettingsSchema, value ?? {});
  if (parsed.success) return parsed.output;
  throw wrong(file, problemOf(parsed.issues[0]));
}

function problemOf(issue: v.BaseIssue<unknown>): string {
  const key = v.getDotPath(issue) ?? 'the file';
  if (issue.type === 'strict_object' && issue.expected === 'never') return `${key}: there is no such setting`;
  if (issue.received === 'undefined') return `${key}: is missing`;
  const expected = issue.message.startsWith('expected')
    ? issue.message
    : `expected ${issue.expected ?? 'another value'}`;
  return `${key}: ${expected}, found ${issue.received.slice(0, 100)}`;
}

function wrong(file: string, detail: string): ShuntError {
  return new ShuntError('SHUNT_E_SETTINGS', detail, { target: file });
}

/** What is in force, and what is wrong with the file since. */
export class SettingsFile {
  readonly path: string | null;
  #settings: MeshSettings;
  #error: ShuntError | null = null;

  /**
   * @param path null for no file, and then there are no settings
   * @throws as readSettings: an agent does not start on a file that is wrong
   */
  constructor(path: string | null) {
    this.path = path === null ? null : resolve(path);
    this.#settings = this.path === null ? {} : readSettings(this.path);
  }

  get settings(): MeshSettings {
    return this.#settings;
  }

  /** Why the file as it stands now is not in force; null when it is. */
  get error(): ShuntError | null {
    return this.#error;
  }

  /** Reads the file again. One that is wrong, or gone, leaves the last good settings in force. */
  reload(): 'changed' | 'same' | 'rejected' {
    if (this.path === null) return 'same';
    try {
      const settings = readSettings(this.path);
      const recovered = this.#error !== null;
      this.#error = null;
      if (!recovered && JSON.stringify(settings) === JSON.stringify(this.#settings)) return 'same';
      this.#settings = settings;
      return 'changed';
    } catch (error) {
      if (!(error instanceof ShuntError)) throw error;
      const known = this.#error?.message === error.message;
      this.#error = error;
      return known ? 'same' : 'rejected';
    }
  }

  /** Calls back after each reload, on a change of the file or SIGHUP, until the signal. */
  async watch(signal: AbortSignal, told: (outcome: 'changed' | 'rejected') => Promise<void>): Promise<void> {
    if (this.path === null) return;
    using alarm = new DirectoryAlarm(dirname(this.path), { debounceMs: 100, rereadMs: 30_000, signal });
    const ring = () => alarm.ring();
    process.on('SIGHUP', ring);
    try {
      while (await alarm.next()) {
        const outcome = this.reload();
        if (outcome !== 'same') await told(outcome);
      }
    } finally {
      process.off('SIGHUP', ring);
    }
  }
}
