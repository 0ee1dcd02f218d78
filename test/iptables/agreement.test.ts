/** The rendered rules, read by an interpreter that does not know the model, decide as bpf/policy.h does. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import fc from 'fast-check';
import { renderDocument } from '../../src/datapath/iptables/render.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { Interpreter, type Verdict } from './interpreter.ts';
import { buildDecide, type Case, caseArbitrary, decide, OWN, policyArbitrary } from './policies.ts';

const RUNS = 400;
const CASES_A_RUN = 25;

let folder = '';
let program = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'shunt-agreement-'));
  program = buildDecide(folder);
});
after(() => rmSync(folder, { recursive: true }));

it('rendered rules and bpf/policy.h agree on random policies and connections', (t) => {
  let cases = 0;
  const packets = fc.array(caseArbitrary, { minLength: 1, maxLength: CASES_A_RUN, size: 'max' });
  const agreement = fc.property(policyArbitrary, packets, (policy, packets) => {
    cases += packets.length;
    const decided = decide(program, policy, packets);
    assert.deepEqual(interpretAll(policy, packets), decided);
  });
  fc.assert(agreement, { numRuns: RUNS });
  t.diagnostic(`${cases} connections`);
  assert.ok(cases > 2000);
});

function interpretAll(policy: RedirectPolicy, packets: readonly Case[]): string[] {
  const rules = {
    4: new Interpreter(renderDocument(policy, 4, OWN[4])),
    6: new Interpreter(renderDocument(policy, 6, OWN[6])),
  };
  return packets.map((packet) => nameOf(rules[packet.family].run(packet).verdict, policy));
}

function nameOf(verdict: Verdict, { ports }: RedirectPolicy): string {
  if (verdict.kind === 'accept') return 'pass';
  if (verdict.kind === 'redirect' && verdict.port === ports.outbound) return 'outbound';
  if (verdict.kind === 'redirect' && verdict.port === ports.inbound) return 'inbound';
  return JSON.stringify(verdict);
}
