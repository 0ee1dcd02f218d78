import assert from 'node:assert/strict';
import { test } from 'node:test';
import { documentsOf, Evaluator } from './evaluate.ts';
import { parseTemplate } from './template.ts';

function render(source: string, values: object = {}, helpers = ''): string {
  const templates = new Map([
    ['_h.tpl', parseTemplate('_h.tpl', helpers)],
    ['t.yaml', parseTemplate('t.yaml', source)],
  ]);
  const [, template] = [...templates.values()];
  assert.ok(template);
  const root = { Values: values, Capabilities: { KubeVersion: { Version: 'v1.30.2' } } };
  return new Evaluator(templates, (path) => `text of ${path}`).render('t.yaml', template, root);
}

test('white space goes where an action takes it', () => {
  assert.equal(render('a\n{{- if true }}\nb\n{{- end }}\nc'), 'a\nb\nc');
  assert.equal(render('a\n  {{- "x" -}}\n  b'), 'axb');
  assert.equal(render('a {{/* no word of this */}} b'), 'a  b');
});

test('conditions follow Go: empty text, 0, and empty lists and mappings are false', () => {
  for (const value of ['', 0, false, null, [], {}]) {
    assert.equal(
      render('{{ if .Values.a }}yes{{ else if not .Values.a }}no{{ else }}never{{ end }}', { a: value }),
      'no',
    );
  }
  assert.equal(render('{{ with .Values.a }}{{ .b }}{{ else }}none{{ end }}', { a: { b: 1 } }), '1');
  assert.equal(render('{{ range .Values.a }}[{{ . }}]{{ end }}', { a: [1, 'x'] }), '[1][x]');
});

test('pipes hand on their value as the last argument', () => {
  assert.equal(render('{{ .Values.a | default "b" | quote }}', { a: '' }), '"b"');
  assert.equal(render('{{ printf "%s:%v" .Values.a 80 }}', { a: 'h' }), 'h:80');
  assert.equal(render('{{ $x := eq .Values.a "y" }}{{ ternary "1" "2" $x }}', { a: 'y' }), '1');
  assert.equal(render('k:{{ toYaml .Values.a | nindent 2 }}', { a: { b: ['on'] } }), 'k:\n  b:\n  - "on"');
  assert.equal(render('{{ .Files.Get "f" }}'), 'text of f');
  assert.equal(render('{{ semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}'), 'true');
  assert.equal(render('{{ semverCompare "<1.30-0" .Capabilities.KubeVersion.Version }}'), 'false');
});

test('a named template has its own dot', () => {
  const helper = '{{- define "h" -}}<{{ .a }}>{{- end -}}';
  assert.equal(render('{{ include "h" .Values }}', { a: 1 }, helper), '<1>');
  assert.equal(render('{{ include "h" (dict "a" .Values.a) }}', { a: 2 }, helper), '<2>');
});

test('what this renderer does not know is an error with file and line, never left out', () => {
  const wrong: [string, RegExp][] = [
    ['\n{{ tpl .Values.a . }}', /^TemplateError: t\.yaml:2: tpl is not known to this renderer$/],
    ['{{ if true }}', /t\.yaml:1: no end of if true/],
    ['{{ end }}', /end without a beginning/],
    ['{{ .Values.a.b }}', /no b of nothing/],
    ['{{ .Values }}', /use toYaml/],
    ['{{ $x }}', /\$x is not assigned/],
    ['{{ block "x" . }}{{ end }}', /block is not used in this chart/],
    ['{{ include "x" . }}', /nothing defines x/],
    ['{{ fail "because" }}', /because/],
    ['{{ "a', /does not end/],
    ['{{ (eq 1 1 }}', /parenthesis/],
  ];
  for (const [source, error] of wrong) assert.throws(() => render(source), error, source);
  assert.throws(() => documentsOf('t.yaml', 'a: [}'), /t\.yaml: what it renders is not YAML/);
});
