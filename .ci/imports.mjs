import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { at, ROOT } from './place.mjs';
import { filesUnder } from './setup/stamps.mjs';

/**
 * One import of a TypeScript or JavaScript module.
 *
 * @typedef {object} Import
 * @property {string} specifier
 * @property {number} line counted from 1
 * @property {boolean} typeOnly erased before the module runs
 * @property {boolean} lazy import() or require(): resolved only when that line runs
 * @property {string[]} names imported by name; empty for a default, namespace or bare import
 */

// TypeScript 7 has no JavaScript interface, and esbuild drops type imports; the grammar of imports is small.
const TOKEN = new RegExp(
  [
    /\s+/, // space
    /\/\/[^\n]*|\/\*[\s\S]*?\*\//, // comments
    /(?<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")/,
    /(?<word>[\p{ID_Start}$_#][\p{ID_Continue}$]*)/u,
    /(?<number>\d[\w.]*)/,
    /(?<sign>[\s\S])/u,
  ]
    .map((part) => part.source)
    .join('|'),
  'uy',
);
// After these a slash begins a regular expression and not a division.
const BEFORE_REGEX =
  /^(?:[(,=:[!&|?{};+\-*%~^<>]|return|typeof|case|in|of|do|else|void|delete|throw|await|yield)$/;
const REGEX = /\/(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/uy;

function tokensOf(source) {
  const tokens = [];
  const templates = []; // depth of braces at each open `${`
  let depth = 0;
  let at = 0;
  let line = 1;
  const take = (pattern) => {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (match) advance(match[0]);
    return match;
  };
  const advance = (text) => {
    at += text.length;
    line += text.split('\n').length - 1;
  };
  const template = () => {
    const rest = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{|$)/y;
    if (take(rest)[0].endsWith('${')) templates.push(depth++);
  };
  while (at < source.length) {
    const previous = tokens.at(-1)?.text ?? ';';
    const startLine = line;
    if (source[at] === '/' && BEFORE_REGEX.test(previous) && !/^\/[/*]/.test(source.slice(at, at + 2))) {
      if (take(REGEX)) {
        tokens.push({ kind: 'regex', text: 'regex', line: startLine });
        continue;
      }
    }
    const { groups } = take(TOKEN);
    const kind = Object.keys(groups).find((name) => groups[name] !== undefined);
    if (kind === undefined) continue;
    const text = groups[kind];
    if (text === '`') {
      template();
      tokens.push({ kind: 'template', text: 'template', line: startLine });
      continue;
    }
    if (text === '{') depth++;
    if (text === '}') {
      depth--;
      if (templates.at(-1) === depth) {
        templates.pop();
        template();
        continue;
      }
    }
    tokens.push({ kind, text, line: startLine });
  }
  return tokens;
}

/**
 * @param {string} source of a module
 * @returns {Import[]} static, dynamic (of a literal), re-exporting and require() imports, in order
 */
export function importsOf(source) {
  const tokens = tokensOf(source);
  const found = [];
  const text = (i) => tokens[i]?.text;
  const literal = (i) => (tokens[i]?.kind === 'string' ? tokens[i].text.slice(1, -1) : undefined);
  for (let i = 0; i < tokens.length; i++) {
    const { kind, line } = tokens[i];
    if (kind !== 'word' || text(i - 1) === '.') continue;
    const called = text(i + 1) === '(' ? literal(i + 2) : undefined;
    if ((text(i) === 'import' || text(i) === 'require') && called !== undefined) {
      // `typeof import('x')` and `import('x').Type` in a type cannot be told cheaply: taken as a use.
      found.push({ specifier: called, line, typeOnly: false, lazy: true, names: [] });
    } else if (text(i) === 'import' && literal(i + 1) !== undefined) {
      found.push({ specifier: literal(i + 1), line, typeOnly: false, lazy: false, names: [] });
    } else if (text(i) === 'import' || (text(i) === 'export' && /^(?:type|\*|\{)$/.test(text(i + 1) ?? ''))) {
      const clause = clauseAt(tokens, i + 1);
      if (clause) found.push({ ...clause, line, lazy: false });
    }
  }
  return found;
}

/** The part of an import or export between its keyword and `from 'x'`; undefined when there is no `from`. */
function clauseAt(tokens, start) {
  let i = start;
  const wholeType = tokens[i]?.text === 'type' && !['from', ',', '='].includes(tokens[i + 1]?.text);
  if (wholeType) i++;
  const names = [];
  let values = 0;
  let braced = false;
  for (; i < tokens.length; i++) {
    const { kind, text } = tokens[i];
    const next = tokens[i + 1];
    if (text === 'from' && next?.kind === 'string' && !braced) {
      const typeOnly = wholeType || (names.length > 0 && values === 0);
      return { specifier: next.text.slice(1, -1), typeOnly, names };
    }
    if (text === '{') braced = true;
    else if (text === '}') braced = false;
    else if (kind === 'word' && braced) {
      const isType = text === 'type' && next?.kind === 'word' && next.text !== 'as';
      names.push(isType ? next.text : text);
      if (isType) i++;
      else values++;
      while (![',', '}', undefined].includes(tokens[i + 1]?.text)) i++; // `as name`
    } else if (kind === 'word' || text === '*') values++;
    else if (text !== ',') return undefined;
  }
  return undefined;
}

/** Our source files: TypeScript below src, native/libbpf-ts, test and bench, by path below the checkout. */
export function sourceFiles() {
  const isSource = (name) => name.endsWith('.ts') && !name.endsWith('.d.ts') && !/(^|\/)dist\//.test(name);
  const folders = ['src', 'native/libbpf-ts', 'test', 'bench', 'vagrant', 'daemonset'];
  return folders.flatMap((folder) => filesUnder(at(folder), isSource)).map((file) => relative(ROOT, file));
}

/**
 * @param {string} file importing, by path below the checkout
 * @param {string} specifier
 * @returns {string|undefined} the file meant, by path below the checkout; undefined for a package
 */
export function resolveImport(file, specifier) {
  if (specifier === 'libbpf-ts') return 'native/libbpf-ts/src/index.ts';
  if (!specifier.startsWith('.')) return undefined;
  return join(dirname(file), specifier);
}

/** What a module needs in order to start: every file and package reached by imports that are neither types nor lazy. */
export function reachedFrom(file, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  if (!existsSync(at(file)) || !/\.[cm]?[jt]s$/.test(file)) return seen;
  for (const { specifier, typeOnly, lazy } of importsOf(readFileSync(at(file), 'utf8'))) {
    if (typeOnly || lazy) continue;
    const target = resolveImport(file, specifier);
    if (target === undefined) seen.add(specifier);
    else reachedFrom(target, seen);
  }
  return seen;
}
