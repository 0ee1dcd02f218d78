import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AgentError } from '../agent/client.ts';
import { ShuntError } from '../errors.ts';
import { tellFailure } from './failure.ts';
import type { Io } from './io.ts';
import type { Format } from './output/writer.ts';

function told(
  error: unknown,
  format: Format = 'table',
  env: NodeJS.ProcessEnv = {},
): { code: number; text: string } {
  let text = '';
  const io: Io = {
    out: () => assert.fail('an error is not data'),
    err: (part) => {
      text += part;
    },
    note: () => assert.fail('an error is no note'),
    colour: { out: false, err: false },
    env,
  };
  return { code: tellFailure(io, format, error), text };
}

/** As libbpf-ts makes them. */
function refused(lines: number): Error {
  const full = Array.from({ length: lines }, (_, line) => `${line}: (79) r1 = *(u64 *)(r6 +0)`).join('\n');
  return Object.assign(new Error('load program connect4: EACCES: invalid access'), {
    name: 'BpfError',
    code: 'EACCES',
    hint: 'the verifier refused the program',
    log: { full: `${full}\n` },
  });
}

describe('a failure', () => {
  it('is one block: what happened, its code, and what to do', () => {
    assert.deepEqual(told(new ShuntError('SHUNT_E_POD_UNKNOWN', undefined, { target: 'a' })), {
      code: 1,
      text: 'error: a: no such pod is known on this node [SHUNT_E_POD_UNKNOWN]\nfix: `shunt pod list` shows the pods\n',
    });
  });

  it('ends with 2 when the command line is wrong, with 1 otherwise', () => {
    assert.equal(told(new ShuntError('SHUNT_E_USAGE')).code, 2);
    assert.equal(told(new TypeError('x')).code, 1);
  });

  it('shows the last lines of the verifier log and tells how many there are before', () => {
    const { text } = told(refused(100));
    const lines = text.trimEnd().split('\n');
    assert.deepEqual(lines.slice(0, 3), [
      'error: load program connect4: EACCES: invalid access [EACCES]',
      'fix: the verifier refused the program',
      'verifier log (88 lines before these; all with -o json):',
    ]);
    assert.equal(lines.length, 3 + 12);
    assert.equal(lines.at(-1), '  99: (79) r1 = *(u64 *)(r6 +0)');
  });

  it('finds the verifier log behind an error of ours, and gives all of it as JSON', () => {
    const { text } = told(new ShuntError('SHUNT_E_LOAD', 'x', { cause: refused(100) }), 'json');
    const { error } = JSON.parse(text);
    assert.equal(error.code, 'SHUNT_E_LOAD');
    assert.equal(error.log.trimEnd().split('\n').length, 100);
  });

  it("keeps the agent's own code and words", () => {
    const { text } = told(new AgentError({ code: 'SHUNT_E_NEWER', message: 'm', fix: 'f' }));
    assert.equal(text, 'error: m [SHUNT_E_NEWER]\nfix: f\n');
  });

  it('prints no control character and no second line of a message', () => {
    assert.equal(
      told(new ShuntError('SHUNT_E_FILE', 'a\u001b[2J\nb')).text.split('\n')[0],
      'error: a\\u001b[2J\\nb [SHUNT_E_FILE]',
    );
  });

  it('prints the stack, causes included, with SHUNT_DEBUG', () => {
    const error = new Error('outer', { cause: new Error('inner') });
    assert.doesNotMatch(told(error).text, /failure\.test/);
    const { text } = told(error, 'table', { SHUNT_DEBUG: '1' });
    assert.match(text, /Error: outer\n +at /);
    assert.match(text, /caused by: Error: inner\n +at /);
  });
});
