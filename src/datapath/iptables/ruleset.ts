/**
 * What of a netns' iptables is ours: the chains named SHUNT_*, and the rules that jump to them. A document takes the
 * tables from what they hold to what is wanted; it says nothing of any other chain or rule.
 */

/** Ours, and nobody else's: every chain that begins so. */
export const CHAIN_PREFIX = 'SHUNT_';

const JUMP = new RegExp(`-[jg] ${CHAIN_PREFIX}`);
/** A comment of somebody's rule may say anything. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g;

export const TABLES = ['raw', 'mangle', 'nat'] as const;
export type TableName = (typeof TABLES)[number];

export interface TableRules {
  /** Chain -> its rules, without `-A CHAIN`. */
  chains: Map<string, string[]>;
  /** Rules of built-in chains that jump to ours. */
  jumps: { chain: string; rule: string }[];
}

export type Ruleset = Map<TableName, TableRules>;

export const EMPTY: Ruleset = new Map();

const NOTHING: TableRules = { chains: new Map(), jumps: [] };

/**
 * A document for `iptables-restore --noflush`. Chains that are there are emptied and filled anew within the table's one
 * transaction, so that no connection meets half of them; jumps that are there stay where they are.
 *
 * @returns the empty text when there is nothing to do
 */
export function transition(current: Ruleset, wanted: Ruleset): string {
  return TABLES.map((table) => {
    const lines = tableLines(current.get(table) ?? NOTHING, wanted.get(table) ?? NOTHING);
    return lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
  }).join('');
}

function tableLines(current: TableRules, wanted: TableRules): string[] {
  const stale = [...current.chains.keys()].filter((chain) => !wanted.chains.has(chain));
  const missing = [...wanted.jumps];
  const surplus = current.jumps.filter((jump) => {
    const at = missing.findIndex(({ chain, rule }) => chain === jump.chain && rule === jump.rule);
    if (at !== -1) missing.splice(at, 1);
    return at === -1;
  });
  return [
    ...[...wanted.chains.keys()].map((chain) => `:${chain} - [0:0]`),
    // A chain that anything refers to cannot be deleted.
    ...stale.map((chain) => `-F ${chain}`),
    ...surplus.map(({ chain, rule }) => `-D ${chain} ${rule}`),
    ...stale.map((chain) => `-X ${chain}`),
    ...[...wanted.chains].flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule}`)),
    ...missing.map(({ chain, rule }) => `-A ${chain} ${rule}`),
  ];
}

/** Our part of what iptables-save printed. */
export function parseSaved(text: string): Ruleset {
  const found: Ruleset = new Map();
  let table: TableRules = { chains: new Map(), jumps: [] };
  for (const line of text.split('\n')) {
    const name = TABLES.find((each) => line === `*${each}`);
    if (name !== undefined) {
      table = { chains: new Map(), jumps: [] };
      found.set(name, table);
    } else if (line.startsWith(`:${CHAIN_PREFIX}`)) {
      table.chains.set(line.slice(1, line.indexOf(' ')), []);
    } else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3);
      const [chain, rule] = [line.slice(3, end), line.slice(end + 1)];
      if (chain.startsWith(CHAIN_PREFIX)) table.chains.get(chain)?.push(rule);
      else if (JUMP.test(rule.replace(QUOTED, ''))) table.jumps.push({ chain, rule });
    }
  }
  for (const [name, { chains, jumps }] of found) if (chains.size + jumps.length === 0) found.delete(name);
  return found;
}

/** One text for equal rulesets, to compare and to digest. */
export function rulesetText(ruleset: Ruleset): string {
  return transition(EMPTY, ruleset);
}
