/**
 * Which namespaces hold our rules, in files of the run directory: the rules themselves cannot be found without knowing
 * where to look. What the rules are is read from the kernel alone. A file is written before the first rule, so that no
 * crash leaves rules that nobody remembers.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { VARIANTS } from './detect.ts';
import { type Ruleset, rulesetText } from './ruleset.ts';

const RulesRecord = v.object({
  family: v.picklist([4, 6]),
  variant: v.picklist(VARIANTS),
  /** Digest of the rules wanted, in our words. */
  wanted: v.string(),
  /** Digest of the rules as iptables-save printed them right after; null while they are being applied. */
  saved: v.nullable(v.string()),
});

const PodRecord = v.object({
  cookie: v.pipe(v.string(), v.regex(/^\d+$/)),
  netns: v.string(),
  inode: v.pipe(v.string(), v.regex(/^\d+$/)),
  ip4: v.nullable(v.string()),
  ip6: v.nullable(v.string()),
  rules: v.array(RulesRecord),
  /** ::6 was put on lo by us. */
  passthroughAdded: v.boolean(),
});

export type PodRecord = v.InferOutput<typeof PodRecord>;

export class Records {
  readonly #directory: string;
  readonly #records = new Map<bigint, PodRecord>();

  /** @param directory there while it has records; what cannot be read in it is passed over */
  constructor(directory: string) {
    this.#directory = directory;
    const names = existsSync(directory) ? readdirSync(directory) : [];
    for (const name of names.filter((each) => /^\d+\.json$/.test(each))) {
      const record = readRecord(join(directory, name));
      if (record !== null) this.#records.set(BigInt(record.cookie), record);
    }
  }

  get(cookie: bigint): PodRecord | undefined {
    return this.#records.get(cookie);
  }

  all(): [bigint, PodRecord][] {
    return [...this.#records];
  }

  put(record: PodRecord): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const file = this.#file(BigInt(record.cookie));
    writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${file}.new`, file);
    this.#records.set(BigInt(record.cookie), record);
  }

  delete(cookie: bigint): void {
    rmSync(this.#file(cookie), { force: true });
    this.#records.delete(cookie);
    // A file that could not be read may be there still: then the directory stays with it.
    if (existsSync(this.#directory) && readdirSync(this.#directory).length === 0) rmdirSync(this.#directory);
  }

  #file(cookie: bigint): string {
    return join(this.#directory, `${cookie}.json`);
  }
}

function readRecord(file: string): PodRecord | null {
  try {
    const parsed = v.safeParse(PodRecord, JSON.parse(readFileSync(file, 'utf8')));
    return parsed.success ? parsed.output : null;
  } catch (error) {
    // Half a file, left by a node that lost power: its pod is found again by its manifest.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

export function digest(ruleset: Ruleset): string {
  return createHash('sha256').update(rulesetText(ruleset)).digest('hex');
}
