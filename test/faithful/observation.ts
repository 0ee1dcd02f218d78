/** What an item saw, in a form in which two pods can be compared. */
import type { Reply, Word } from './puppet.ts';

/** One call, and a field of its answer: `app connect far:8080` and `result`. */
export interface Fact {
  call: string;
  field: string;
  value: string | number | boolean;
}

/** First port that the kernel gives to a socket that asked for none (ip_local_port_range). */
const FIRST_EPHEMERAL = 32_768;

/** Calls with which a connection begins. */
const STARTS: ReadonlySet<string> = new Set(['connect', 'send-to', 'ring-connect', 'fork', 'vfork']);

/**
 * Collects facts. Addresses get the names of their hosts, and ports that the kernel chose are numbered in the order in
 * which they appear since the last connect: that two of them are one is compared, which they are is not. Over several
 * connections the kernel may choose one again.
 */
export class Observation {
  readonly facts: Fact[] = [];
  readonly #names: readonly [RegExp, string][];
  readonly #ports = new Map<string, string>();

  /** @param names of addresses; `far` to 192.0.2.2 */
  constructor(names: readonly (readonly [address: string, name: string])[]) {
    this.#names = names.map(([address, name]) => [
      new RegExp(`(?<![\\w.:])${address.replaceAll('.', '\\.')}(?![\\w.]|:[0-9a-f]*:)`, 'g'),
      name,
    ]);
  }

  add(who: string, call: string, words: readonly Word[], reply: Reply): void {
    if (STARTS.has(call)) this.#ports.clear();
    // Descriptors are numbers; they say nothing to people.
    const text = words.filter((word) => typeof word === 'string' || word > 1023);
    const step = [who, call, ...text]
      .map((word) =>
        typeof word === 'number' && word >= FIRST_EPHEMERAL ? 'port' : this.#plain(String(word)),
      )
      .join(' ');
    for (const [field, value] of Object.entries(reply)) {
      if (field === 'fd') continue;
      if (typeof value === 'object') {
        for (const [inner, leaf] of Object.entries(value)) this.#push(step, `${field}.${inner}`, leaf);
      } else this.#push(step, field, value);
    }
  }

  /** A fact that is no answer of a call. */
  note(what: string, value: Fact['value']): void {
    this.#push(this.#plain(what), 'value', value);
  }

  #push(call: string, field: string, value: Fact['value']): void {
    this.facts.push({ call, field, value: typeof value === 'string' ? this.#plain(value) : value });
  }

  #plain(text: string): string {
    const named = this.#names.reduce(
      (line, [pattern, name]) => line.replace(pattern, name),
      text.replaceAll('::ffff:', 'mapped-'),
    );
    return named.replace(/:(\d{5})(?!\d)/g, (whole, port: string) => {
      if (Number(port) < FIRST_EPHEMERAL) return whole;
      const known = this.#ports.get(port) ?? `port-${this.#ports.size + 1}`;
      this.#ports.set(port, known);
      return `:${known}`;
    });
  }
}
