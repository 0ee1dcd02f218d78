/**
 * The part of Go's text/template that our chart is written in, parsed. Anything else is an error that names its line,
 * so that a template which Helm would read otherwise does not come about unseen; `npm run test:chart` holds both
 * together.
 */

export type Expression =
  | { kind: 'literal'; value: string | number | boolean }
  | { kind: 'path'; root: '.' | string; names: string[] }
  | { kind: 'call'; name: string; args: Expression[] }
  | { kind: 'pipe'; stages: Expression[] };

export interface Branch {
  /** Null: else. */
  when: Expression | null;
  body: Node[];
}

export type Node =
  | { kind: 'text'; text: string }
  | { kind: 'print'; value: Expression; line: number }
  | { kind: 'assign'; name: string; value: Expression; line: number }
  | { kind: 'if' | 'with'; branches: Branch[]; line: number }
  | { kind: 'range'; over: Expression; body: Node[]; line: number };

export interface Template {
  body: Node[];
  /** Of `define`. */
  named: Map<string, Node[]>;
}

interface Action {
  text: string;
  line: number;
}

/** @throws TemplateError */
export class TemplateError extends Error {
  constructor(file: string, line: number, what: string) {
    super(`${file}:${line}: ${what}`);
    this.name = 'TemplateError';
  }
}

/** @param file named in errors */
export function parseTemplate(file: string, source: string): Template {
  return new Parser(file, split(file, source)).template();
}

/** Text and actions in turn, white space taken away where an action says so. */
function split(file: string, source: string): (string | Action)[] {
  const parts: (string | Action)[] = [];
  let at = 0;
  let trim = false;
  const push = (text: string): void => {
    const kept = trim ? text.trimStart() : text;
    if (kept !== '') parts.push(kept);
  };
  for (;;) {
    const open = source.indexOf('{{', at);
    if (open === -1) break;
    const close = endOfAction(source, open + 2);
    const line = source.slice(0, open).split('\n').length;
    if (close === -1) throw new TemplateError(file, line, 'an action does not end');
    let inner = source.slice(open + 2, close);
    const text = source.slice(at, open);
    const trimsBefore = /^-\s/.test(inner);
    push(trimsBefore ? text.trimEnd() : text);
    if (trimsBefore) inner = inner.slice(1);
    trim = /\s-$/.test(inner);
    if (trim) inner = inner.slice(0, -1);
    const action = inner.trim();
    if (!/^\/\*[\s\S]*\*\/$/.test(action)) parts.push({ text: action, line });
    at = close + 2;
  }
  push(source.slice(at));
  return parts;
}

/** Where `}}` stands outside of strings. */
function endOfAction(source: string, from: number): number {
  const found = /^(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\})[\s\S])*?\}\}/.exec(source.slice(from));
  return found === null ? -1 : from + found[0].length - 2;
}

class Parser {
  readonly #file: string;
  readonly #parts: (string | Action)[];
  readonly #named = new Map<string, Node[]>();
  #next = 0;

  constructor(file: string, parts: (string | Action)[]) {
    this.#file = file;
    this.#parts = parts;
  }

  template(): Template {
    const { body, end } = this.#body();
    if (end !== null) throw this.#wrong(end, `${end.text} without a beginning`);
    return { body, named: this.#named };
  }

  /** Up to `end` or `else`, which is given back. */
  #body(): { body: Node[]; end: Action | null } {
    const body: Node[] = [];
    for (;;) {
      const part = this.#parts[this.#next++];
      if (part === undefined) return { body, end: null };
      if (typeof part === 'string') body.push({ kind: 'text', text: part });
      else if (/^(end|else\b.*)$/s.test(part.text)) return { body, end: part };
      else this.#action(part, body);
    }
  }

  #action(action: Action, body: Node[]): void {
    const { text, line } = action;
    const [, keyword = '', rest = ''] =
      /^(if|with|range|define|template|block|break|continue)\b\s*(.*)$/s.exec(text) ?? [];
    const [, variable, value = ''] = /^\$(\w+)\s*:=\s*(.*)$/s.exec(text) ?? [];
    if (variable !== undefined) {
      body.push({ kind: 'assign', name: variable, value: this.#expression(action, value), line });
    } else if (keyword === '') {
      body.push({ kind: 'print', value: this.#expression(action, text), line });
    } else if (keyword === 'if' || keyword === 'with') {
      body.push({ kind: keyword, branches: this.#branches(action, rest), line });
    } else if (keyword === 'range') {
      body.push({ kind: 'range', over: this.#expression(action, rest), body: this.#closed(action), line });
    } else if (keyword === 'define') {
      const [, name] = /^"([^"]+)"$/.exec(rest) ?? [];
      if (name === undefined) throw this.#wrong(action, 'define needs a name in quotes');
      this.#named.set(name, this.#closed(action));
    } else {
      throw this.#wrong(action, `${keyword} is not used in this chart`);
    }
  }

  #branches(action: Action, condition: string): Branch[] {
    const branches: Branch[] = [];
    let when: Expression | null = this.#expression(action, condition);
    for (;;) {
      const { body, end } = this.#body();
      branches.push({ when, body });
      if (end === null) throw this.#wrong(action, `no end of ${action.text}`);
      if (end.text === 'end') return branches;
      if (when === null) throw this.#wrong(end, 'else after else');
      const [, next] = /^else\s+if\s+(.*)$/s.exec(end.text) ?? [];
      when = next === undefined ? null : this.#expression(end, next);
    }
  }

  #closed(action: Action): Node[] {
    const { body, end } = this.#body();
    if (end?.text !== 'end') throw this.#wrong(action, `no end of ${action.text}`);
    return body;
  }

  #expression(action: Action, text: string): Expression {
    const words = [...text.matchAll(WORD)];
    const read = words.map(([word]) => word).join('');
    if (read.replace(/\s/g, '') !== text.replace(/\s/g, ''))
      throw this.#wrong(action, `cannot be read: ${text}`);
    const tokens = words.map(([word]) => word).filter((word) => word.trim() !== '');
    const expression = pipeline(tokens, (what) => this.#wrong(action, what));
    if (tokens.length > 0) throw this.#wrong(action, `unexpected ${tokens[0]}`);
    return expression;
  }

  #wrong({ line }: Action, what: string): TemplateError {
    return new TemplateError(this.#file, line, what);
  }
}

const WORD = /\s+|"(?:[^"\\]|\\.)*"|\$?(?:\.?\w+)(?:\.\w+)*|\$|-?\d+|[.|()]/g;

/** Takes a pipeline off the front of the tokens. */
function pipeline(tokens: string[], wrong: (what: string) => TemplateError): Expression {
  const stages: Expression[] = [];
  for (;;) {
    stages.push(command(tokens, wrong));
    if (tokens[0] !== '|') break;
    tokens.shift();
  }
  const [only] = stages;
  return stages.length === 1 && only !== undefined ? only : { kind: 'pipe', stages };
}

function command(tokens: string[], wrong: (what: string) => TemplateError): Expression {
  const operands: Expression[] = [];
  while (tokens[0] !== undefined && tokens[0] !== '|' && tokens[0] !== ')') {
    operands.push(operand(tokens, wrong));
  }
  const [first, ...args] = operands;
  if (first === undefined) throw wrong('an expression is missing');
  if (first.kind === 'call' && first.args.length === 0) return { ...first, args };
  if (first.kind === 'path' && first.names.join('.') === 'Files.Get')
    return { kind: 'call', name: 'file', args };
  if (args.length > 0) throw wrong('what has arguments is no function');
  return first;
}

function operand(tokens: string[], wrong: (what: string) => TemplateError): Expression {
  const token = tokens.shift() ?? '';
  if (token === '(') {
    const inner = pipeline(tokens, wrong);
    if (tokens.shift() !== ')') throw wrong('a parenthesis does not end');
    // A call in parentheses takes no further arguments.
    return { kind: 'pipe', stages: [inner] };
  }
  if (token.startsWith('"')) return { kind: 'literal', value: String(JSON.parse(token)) };
  if (/^-?\d+$/.test(token)) return { kind: 'literal', value: Number(token) };
  if (token === 'true' || token === 'false') return { kind: 'literal', value: token === 'true' };
  if (token === '.') return { kind: 'path', root: '.', names: [] };
  if (token.startsWith('.')) return { kind: 'path', root: '.', names: token.slice(1).split('.') };
  if (token.startsWith('$')) {
    const [root = '$', ...names] = token.split('.');
    return { kind: 'path', root, names };
  }
  if (/^[a-zA-Z]\w*$/.test(token)) return { kind: 'call', name: token, args: [] };
  throw wrong(`unexpected ${token}`);
}
