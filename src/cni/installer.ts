/**
 * Puts the plugin into the chain of this node's network: the program into the directory of CNI plugins, our entry behind
 * the primary plugin in the configuration that the runtime uses, which is the first valid one by name.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../errors.ts';
import { systemErrorCode } from '../pod/syscall.ts';
import {
  type Conflist,
  confNames,
  entriesOf,
  isList,
  PLUGIN_TYPE,
  type PluginEntry,
  parseConf,
  SAVED_SUFFIX,
  textOf,
  unwrappedName,
  withEntry,
  withoutEntry,
  wrappedName,
} from './conflist.ts';
import { replaceFile, UNFINISHED, writeWhole } from './file_exchange.ts';

export interface InstallerOptions {
  /** Of the runtime's network configurations, /etc/cni/net.d. */
  netDir: string;
  /** Of CNI plugins, /opt/cni/bin. */
  binDir: string;
  /** The built plugin. */
  program: string;
}

export interface Installation {
  /** The configuration in force; null when there is no valid one. */
  file: string | null;
  chained: boolean;
  /** Our entry in it as it stands. */
  entry: unknown;
  /** Valid or not, the runtime passes over these or fails on them. */
  invalid: { file: string; error: ShuntError }[];
  program: { path: string; state: 'current' | 'other' | 'missing' };
}

interface Found {
  name: string;
  path: string;
  text: string;
  list: Conflist;
}

/** Times that a write is begun anew when the primary plugin wrote meanwhile. */
const ATTEMPTS = 10;

export class CniInstaller {
  readonly #options: InstallerOptions;

  constructor(options: InstallerOptions) {
    this.#options = options;
  }

  /**
   * Makes it so. Cheap when it is already.
   *
   * @returns one sentence for each thing that was changed
   * @throws SHUNT_E_CNI_NET_DIR, SHUNT_E_CNI_NO_CONF, SHUNT_E_CNI_CONF_INVALID, SHUNT_E_CNI_WRITE, SHUNT_E_CNI_BUSY
   */
  install(entry: PluginEntry): string[] {
    // The program first: a chain that names a missing one fails every pod.
    const changes = this.#installProgram();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const first = this.#first();
      if (!isList(first.name)) {
        this.#wrap(first, entry);
        changes.push(`${wrappedName(first.name)} takes the place of ${first.name}, and holds our entry`);
        continue;
      }
      const wanted = withEntry(first.list, entry);
      if (wanted === null) return [...changes, ...this.#leaveOthers(first.name)];
      const was = entriesOf(first.list).length;
      if (this.#write(first, textOf(wanted)))
        changes.push(
          was === 0 ? `our entry is put into ${first.name}` : `our entry in ${first.name} is renewed`,
        );
    }
    throw new ShuntError('SHUNT_E_CNI_BUSY', undefined, { target: this.#options.netDir });
  }

  /**
   * Takes our entry out of every configuration, and then the program away. What is not there is no error.
   *
   * @returns one sentence for each thing that was changed
   * @throws SHUNT_E_CNI_NET_DIR, SHUNT_E_CNI_WRITE, SHUNT_E_CNI_BUSY
   */
  uninstall(): string[] {
    const changes: string[] = [];
    for (const name of this.#names()) changes.push(...this.#takeOut(name));
    const program = this.#programPath();
    if (existsSync(program)) {
      guard(program, () => rmSync(program));
      changes.push(`${program} is removed`);
    }
    return changes;
  }

  /** @throws SHUNT_E_CNI_NET_DIR */
  status(): Installation {
    const { valid, invalid } = this.#read();
    const [first] = valid;
    const [entry] = first === undefined ? [] : entriesOf(first.list);
    return {
      file: first?.path ?? null,
      chained: entry !== undefined,
      entry: entry ?? null,
      invalid,
      program: { path: this.#programPath(), state: this.#programState() },
    };
  }

  /** Removes what an installer that was killed left in the middle of a write. */
  sweep(): void {
    const { netDir, binDir } = this.#options;
    for (const directory of [netDir, binDir].filter((each) => existsSync(each))) {
      guard(directory, () => {
        const left = readdirSync(directory).filter((name) => UNFINISHED.test(name));
        for (const name of left) rmSync(join(directory, name), { force: true });
      });
    }
  }

  #programPath(): string {
    return join(this.#options.binDir, PLUGIN_TYPE);
  }

  #programState(): Installation['program']['state'] {
    const path = this.#programPath();
    if (!existsSync(path)) return 'missing';
    return readFileSync(path).equals(readFileSync(this.#options.program)) ? 'current' : 'other';
  }

  #installProgram(): string[] {
    const { binDir, program } = this.#options;
    const state = guard(this.#programPath(), () => this.#programState());
    if (state === 'current') return [];
    guard(binDir, () => {
      mkdirSync(binDir, { recursive: true });
      writeWhole(this.#programPath(), readFileSync(program), 0o755);
    });
    return [`${this.#programPath()} is ${state === 'missing' ? 'written' : 'replaced'}`];
  }

  #names(): string[] {
    const { netDir } = this.#options;
    try {
      return confNames(readdirSync(netDir));
    } catch (cause) {
      throw new ShuntError('SHUNT_E_CNI_NET_DIR', `cannot be read: ${systemErrorCode(cause) ?? cause}`, {
        target: netDir,
        cause,
      });
    }
  }

  #read(): { valid: Found[]; invalid: Installation['invalid'] } {
    const valid: Found[] = [];
    const invalid: Installation['invalid'] = [];
    for (const name of this.#names()) {
      const found = this.#readOne(name);
      if (found instanceof ShuntError) invalid.push({ file: name, error: found });
      else if (found !== null) valid.push(found);
    }
    return { valid, invalid };
  }

  /** Null when it is gone since the directory was listed. */
  #readOne(name: string): Found | ShuntError | null {
    try {
      // A link is followed, as the runtime does, and stays one.
      const path = realpathSync(join(this.#options.netDir, name));
      const text = readFileSync(path, 'utf8');
      return { name, path, text, list: parseConf(name, text) };
    } catch (error) {
      if (error instanceof ShuntError) return error;
      if (systemErrorCode(error) === 'ENOENT') return null;
      return new ShuntError(
        'SHUNT_E_CNI_CONF_INVALID',
        `cannot be read: ${systemErrorCode(error) ?? error}`,
        {
          target: name,
          cause: error,
        },
      );
    }
  }

  /** The configuration in force. */
  #first(): Found {
    const { valid, invalid } = this.#read();
    const [first] = valid;
    if (first !== undefined) return first;
    const { netDir } = this.#options;
    if (invalid.length === 0) throw new ShuntError('SHUNT_E_CNI_NO_CONF', undefined, { target: netDir });
    const detail = invalid.map(({ error }) => error.message).join('; ');
    throw new ShuntError('SHUNT_E_CNI_CONF_INVALID', detail, { target: netDir });
  }

  /** A list of ours in place of a single configuration, which is kept under another name. */
  #wrap(single: Found, entry: PluginEntry): void {
    const { netDir } = this.#options;
    const from = join(netDir, single.name);
    guard(from, () => {
      writeWhole(
        join(netDir, wrappedName(single.name)),
        textOf(withEntry(single.list, entry) ?? single.list),
        0o644,
      );
      const saved = `${from}${SAVED_SUFFIX}`;
      renameSync(from, saved);
      // Written since we read it: back with it, and the next attempt takes it as it is now.
      if (readFileSync(saved, 'utf8') !== single.text && !existsSync(from)) renameSync(saved, from);
    });
  }

  /** Our entry in a configuration that is not in force: the primary plugin's file has another name by now. */
  #leaveOthers(first: string): string[] {
    return this.#names().flatMap((name) => (name === first ? [] : this.#takeOut(name)));
  }

  #takeOut(name: string): string[] {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = this.#readOne(name);
      // What no runtime can read is nobody's to edit.
      if (found === null || found instanceof ShuntError || !isList(name)) return [];
      const wanted = withoutEntry(found.list);
      if (wanted === null) return [];
      if (this.#unwrap(name) || this.#write(found, textOf(wanted)))
        return [`our entry is taken out of ${name}`];
    }
    throw new ShuntError('SHUNT_E_CNI_BUSY', undefined, { target: name });
  }

  /** The single configuration back in its place; false for a list that was one from the start. */
  #unwrap(name: string): boolean {
    const single = unwrappedName(name);
    if (single === null) return false;
    const { netDir } = this.#options;
    const saved = join(netDir, `${single}${SAVED_SUFFIX}`);
    if (!existsSync(saved)) return false;
    return guard(saved, () => {
      // One that the primary plugin has written since is newer.
      if (existsSync(join(netDir, single))) rmSync(saved);
      else renameSync(saved, join(netDir, single));
      rmSync(join(netDir, name));
      return true;
    });
  }

  #write({ path, text }: Found, after: string): boolean {
    return guard(path, () => replaceFile(path, text, after));
  }
}

/** @throws SHUNT_E_CNI_WRITE for what the file system refuses */
function guard<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof ShuntError) throw cause;
    throw new ShuntError('SHUNT_E_CNI_WRITE', `cannot be written: ${systemErrorCode(cause) ?? cause}`, {
      target: path,
      cause,
    });
  }
}
