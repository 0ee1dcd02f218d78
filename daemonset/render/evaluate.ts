/** Templates made into text. */
import { parse, stringify } from 'yaml';
import { type Expression, type Node, type Template, TemplateError } from './template.ts';

/** Kubernetes reads YAML 1.1, in which a bare `on` is true. */
const YAML = { version: '1.1' } as const;
const WRITTEN = { ...YAML, lineWidth: 0, aliasDuplicateObjects: false } as const;

export function yamlText(value: unknown): string {
  return stringify(value, WRITTEN);
}

type Value = unknown;
type Variables = ReadonlyMap<string, Value>;

export class Evaluator {
  readonly #named = new Map<string, { file: string; body: Node[] }>();
  readonly #files: (path: string) => string;

  /** @param files text of a file of the chart, for `.Files.Get` */
  constructor(templates: ReadonlyMap<string, Template>, files: (path: string) => string) {
    this.#files = files;
    for (const [file, { named }] of templates) {
      for (const [name, body] of named) this.#named.set(name, { file, body });
    }
  }

  /** @param root `.` and `$` of the template */
  render(file: string, { body }: Template, root: object): string {
    return this.#nodes(file, body, root, new Map([['$', root]]));
  }

  #nodes(file: string, nodes: readonly Node[], dot: Value, outer: Variables): string {
    const variables = new Map(outer);
    let text = '';
    for (const node of nodes) text += this.#node(file, node, dot, variables);
    return text;
  }

  #node(file: string, node: Node, dot: Value, variables: Map<string, Value>): string {
    if (node.kind === 'text') return node.text;
    try {
      switch (node.kind) {
        case 'print':
          return printed(this.#value(node.value, dot, variables));
        case 'assign':
          variables.set(`$${node.name}`, this.#value(node.value, dot, variables));
          return '';
        case 'range': {
          const items = this.#value(node.over, dot, variables);
          if (!Array.isArray(items)) throw new Error('range over what is no list');
          return items.map((item) => this.#nodes(file, node.body, item, variables)).join('');
        }
        default:
          for (const { when, body } of node.branches) {
            const value = when === null ? true : this.#value(when, dot, variables);
            if (!truth(value)) continue;
            const inner = node.kind === 'with' && when !== null ? value : dot;
            return this.#nodes(file, body, inner, variables);
          }
          return '';
      }
    } catch (error) {
      if (error instanceof TemplateError || !(error instanceof Error)) throw error;
      throw new TemplateError(file, node.line, error.message);
    }
  }

  #value(expression: Expression, dot: Value, variables: Variables, piped: Value[] = []): Value {
    switch (expression.kind) {
      case 'literal':
        return expression.value;
      case 'pipe':
        return expression.stages.reduce<Value[]>(
          (previous, stage) => [this.#value(stage, dot, variables, previous)],
          piped,
        )[0];
      case 'path': {
        if (piped.length > 0) throw new Error('a value takes no input');
        if (expression.root !== '.' && !variables.has(expression.root)) {
          throw new Error(`${expression.root} is not assigned`);
        }
        const from = expression.root === '.' ? dot : variables.get(expression.root);
        return expression.names.reduce(member, from);
      }
      case 'call': {
        const args = expression.args.map((arg) => this.#value(arg, dot, variables));
        return this.#call(expression.name, [...args, ...piped], dot);
      }
    }
  }

  #call(name: string, args: Value[], dot: Value): Value {
    if (name === 'include') {
      const [called, context] = args;
      const found = this.#named.get(String(called));
      if (found === undefined) throw new Error(`nothing defines ${String(called)}`);
      return this.#nodes(found.file, found.body, context, new Map([['$', context]]));
    }
    if (name === 'file') return this.#files(String(args[0]));
    const known = FUNCTIONS[name];
    if (known === undefined) throw new Error(`${name} is not known to this renderer`);
    return known(args, dot);
  }
}

/** Those of Go, Sprig and Helm that the chart uses; the piped value is the last argument. */
const FUNCTIONS: Record<string, (args: Value[], dot: Value) => Value> = {
  and: (args) => args.find((value) => !truth(value)) ?? args.at(-1),
  default: ([other, value]) => (truth(value) ? value : other),
  dict: (args) => Object.fromEntries(pairs(args)),
  eq: ([left, right]) => left === right,
  fail: ([why]) => {
    throw new Error(String(why));
  },
  lower: ([text]) => String(text).toLowerCase(),
  nindent: ([count, text]) => `\n${printed(text).replace(/^(?=.)/gm, ' '.repeat(Number(count)))}`,
  not: ([value]) => !truth(value),
  printf: ([format, ...values]) => String(format).replace(/%[sv]/g, () => printed(values.shift())),
  quote: ([value]) => JSON.stringify(printed(value)),
  semverCompare: ([wanted, version]) => compareVersion(String(wanted), String(version)),
  ternary: ([yes, no, value]) => (truth(value) ? yes : no),
  // As sigs.k8s.io/yaml writes it, since it ends up as text in the ConfigMap.
  toYaml: ([value]) => stringify(value, { ...WRITTEN, indentSeq: false, sortMapEntries: true }).trimEnd(),
};

function pairs(args: Value[]): [string, Value][] {
  return Array.from({ length: args.length / 2 }, (_, i) => [String(args[2 * i]), args[2 * i + 1]]);
}

/** `>=1.30-0` and `<1.30-0`: releases and their forerunners alike. */
function compareVersion(wanted: string, version: string): boolean {
  const [, operator, major, minor] = /^(>=|<)(\d+)\.(\d+)-0$/.exec(wanted) ?? [];
  const [, haveMajor, haveMinor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  if (operator === undefined || haveMajor === undefined)
    throw new Error(`semverCompare ${wanted} ${version}`);
  const difference = Number(haveMajor) - Number(major) || Number(haveMinor) - Number(minor);
  return operator === '>=' ? difference >= 0 : difference < 0;
}

function member(from: Value, name: string): Value {
  if (from === null || from === undefined) throw new Error(`no ${name} of nothing`);
  return typeof from === 'object' ? Object.entries(from).find(([key]) => key === name)?.[1] : undefined;
}

function truth(value: Value): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

function printed(value: Value): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'object') throw new Error('a list or mapping is printed as it is; use toYaml');
  return String(value);
}

/** @throws Error when it is not YAML, naming the file */
export function documentsOf(file: string, text: string): object[] {
  try {
    return text
      .split(/^---$/m)
      .map((part): unknown => parse(part, YAML))
      .filter((document) => typeof document === 'object' && document !== null);
  } catch (cause) {
    throw new Error(`${file}: what it renders is not YAML: ${String(cause)}`, { cause });
  }
}
