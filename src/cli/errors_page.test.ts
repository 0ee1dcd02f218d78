import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ERRORS, errorReport, ShuntError } from '../errors.ts';
import { ERRORS_PAGE, renderErrorsPage } from './errors_page.ts';

describe('the page of error codes', () => {
  it('is current: run `node --conditions=source src/cli/errors_page.ts` when it is not', () => {
    assert.equal(readFileSync(ERRORS_PAGE, 'utf8'), renderErrorsPage());
  });

  it('has every code, with what happened and what to do', () => {
    const page = renderErrorsPage();
    for (const [code, { what, fix }] of Object.entries(ERRORS)) {
      assert.ok(page.includes(`## ${code}\n`), code);
      assert.ok(what.length > 0 && fix.length > 0, code);
    }
  });
});

describe('an error report', () => {
  it("keeps a ShuntError's code, message and fix", () => {
    assert.deepEqual(
      errorReport(new ShuntError('SHUNT_E_AGENT_DOWN', undefined, { target: '/x', fix: 'start it' })),
      {
        code: 'SHUNT_E_AGENT_DOWN',
        message: '/x: no agent answers on the socket',
        fix: 'start it',
      },
    );
  });

  it("keeps a system error's own code, and calls the rest a fault of Shunt", () => {
    const system = Object.assign(new Error('EACCES: permission denied,\n open'), {
      code: 'EACCES',
      syscall: 'open',
    });
    assert.equal(errorReport(system).code, 'EACCES');
    assert.equal(errorReport(system).message, 'EACCES: permission denied, open');
    assert.equal(errorReport(new TypeError('x is undefined')).code, 'SHUNT_E_INTERNAL');
    assert.equal(errorReport('thrown text').message, 'thrown text');
  });
});
