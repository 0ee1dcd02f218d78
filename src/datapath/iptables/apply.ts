/** Reads and writes our rules in one network namespace and family. */
import { ShuntError } from '../../errors.ts';
import type { AddressFamily } from '../../policy/address.ts';
import { program, type Variant } from './detect.ts';
import { parseSaved, type Ruleset, transition } from './ruleset.ts';
import { runInside } from './tool.ts';

/** Legacy iptables takes one lock a node; nft has none and ignores the option. */
const LOCK_WAIT_S = 30;

export interface Place {
  /** Path of the network namespace. */
  netns: string;
  family: AddressFamily;
  variant: Variant;
}

/**
 * Our rules as they stand.
 *
 * @throws SHUNT_E_IPTABLES_APPLY, SHUNT_E_IPTABLES_MISSING
 */
export async function readRules({ netns, family, variant }: Place): Promise<Ruleset> {
  const name = program(variant, family, 'save');
  const { code, stdout, stderr } = await runInside(netns, [name]);
  if (code !== 0) throw new ShuntError('SHUNT_E_IPTABLES_APPLY', said(code, stderr), { target: name });
  return parseSaved(stdout);
}

/**
 * Makes our rules what is wanted, in one restore. Each table is one transaction; a failure in a later table leaves the
 * earlier ones changed, which the caller takes back.
 *
 * @throws SHUNT_E_IPTABLES_APPLY with the line that failed and what iptables said, SHUNT_E_IPTABLES_MISSING
 */
export async function writeRules(place: Place, current: Ruleset, wanted: Ruleset): Promise<void> {
  const document = transition(current, wanted);
  if (document === '') return;
  const name = program(place.variant, place.family, 'restore');
  const argv = [name, '--noflush', `--wait=${LOCK_WAIT_S}`];
  const { code, stderr } = await runInside(place.netns, argv, document);
  if (code === 0) return;
  const line = failedLine(document, stderr);
  const what = line === null ? said(code, stderr) : `${JSON.stringify(line)}: ${said(code, stderr)}`;
  throw new ShuntError('SHUNT_E_IPTABLES_APPLY', what, { target: name });
}

/** Both variants name the line by its number: `line 12 failed`, `line 12: RULE_APPEND failed (…)`. */
function failedLine(document: string, stderr: string): string | null {
  const number = /line:? (\d+)/.exec(stderr)?.[1];
  return number === undefined ? null : (document.split('\n')[Number(number) - 1] ?? null);
}

function said(code: number, stderr: string): string {
  const text = stderr.replace(/\s+/g, ' ').trim();
  return text === '' ? `it ended with code ${code}` : text;
}
