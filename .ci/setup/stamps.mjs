import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { CACHE, ROOT } from '../place.mjs';

/**
 * What set-up has already done, as hashes of contents: a step is current when its inputs hash to what they did
 * and its outputs are the files it wrote (size and time, so that a hand-made change is noticed cheaply).
 */
export class Stamps {
  #file;
  #stamps;

  /** @param {string} [file] where they are kept */
  constructor(file = join(CACHE, 'stamps.json')) {
    this.#file = file;
    try {
      this.#stamps = JSON.parse(readFileSync(this.#file, 'utf8'));
    } catch {
      this.#stamps = {}; // none yet, or cut short by a crash: everything is done anew
    }
  }

  /**
   * @param {string} step
   * @param {string} inputs hash of what goes in
   */
  current(step, inputs) {
    const stamp = this.#stamps[step];
    if (stamp?.inputs !== inputs) return false;
    return Object.entries(stamp.outputs).every(([file, was]) => was !== null && identity(file) === was);
  }

  /**
   * @param {string} step
   * @param {string} inputs hash of what went in
   * @param {string[]} outputs absolute paths written
   */
  record(step, inputs, outputs) {
    const entries = outputs.map((file) => [relative(ROOT, file), identity(relative(ROOT, file))]);
    this.#put(step, { inputs, outputs: Object.fromEntries(entries) });
  }

  /**
   * Remembers that something could not be had, so that the next run does not wait for it again.
   *
   * @param {string} what
   */
  recordFailure(what) {
    this.#put(`failed ${what}`, { at: Date.now() });
  }

  /**
   * @param {string} what
   * @param {number} withinMs
   * @returns {number|undefined} milliseconds since it failed, when that is within `withinMs`
   */
  failedSince(what, withinMs) {
    const stamp = this.#stamps[`failed ${what}`];
    const age = stamp === undefined ? Number.POSITIVE_INFINITY : Date.now() - stamp.at;
    return age >= 0 && age < withinMs ? age : undefined;
  }

  #put(name, value) {
    this.#stamps[name] = value;
    mkdirSync(dirname(this.#file), { recursive: true });
    writeFileSync(`${this.#file}.new`, `${JSON.stringify(this.#stamps, null, 1)}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function identity(file) {
  try {
    const { size, mtimeMs } = statSync(join(ROOT, file));
    return `${size} ${mtimeMs}`;
  } catch {
    return null;
  }
}

/**
 * @param {string[]} files absolute paths; their contents and names count, their order does not
 * @param {unknown[]} [also] further inputs: flags, versions
 */
export function hash(files, also = []) {
  const sum = createHash('sha256').update(JSON.stringify(also));
  for (const file of [...files].sort()) {
    const content = readFileSync(file);
    sum.update(`\0${relative(ROOT, file)}\0${content.length}\0`).update(content);
  }
  return sum.digest('hex');
}

/**
 * @param {string} folder absolute path; an absent one holds nothing
 * @param {(name: string) => boolean} wanted by path below the folder
 * @returns {string[]} absolute paths, sorted
 */
export function filesUnder(folder, wanted) {
  let names;
  try {
    names = readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
  return names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((file) => !file.includes('/node_modules/') && wanted(relative(folder, file)))
    .sort();
}
