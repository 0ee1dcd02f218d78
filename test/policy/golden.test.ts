/**
 * What `shunt policy show -f FILE -o json` says of each pod under test/fixtures/<mesh>/, held to the JSON that lies beside
 * it. After a change that is meant, write them anew and read the difference:
 *
 *     SHUNT_UPDATE_GOLDEN=1 node --conditions=source --test test/policy/golden.test.ts && git diff test/fixtures
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Io } from '../../src/cli/io.ts';
import type { PolicyAnswer } from '../../src/cli/policy.ts';
import { runProgram } from '../../src/cli/program.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');
const MESHES = ['istio', 'linkerd', 'kuma', 'consul', 'osm', 'appmesh', 'left-alone'];
const UPDATE = process.env.SHUNT_UPDATE_GOLDEN === '1';

async function shown(file: string, format: 'json' | 'table'): Promise<{ code: number; text: string }> {
  const out: string[] = [];
  const io: Io = {
    out: (text) => out.push(text),
    note: () => {},
    err: () => {},
    colour: { out: false, err: false },
    env: {},
  };
  const words = format === 'json' ? ['-o', 'json'] : [];
  const code = await runProgram(['policy', 'show', '-f', file, ...words], io);
  return { code, text: out.join('') };
}

for (const mesh of MESHES) {
  const folder = join(FIXTURES, mesh);
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => name.slice(0, -'.yaml'.length));

  describe(`golden answers for ${mesh}`, () => {
    for (const name of names) {
      it(`${name} is answered as it was`, async () => {
        const { code, text } = await shown(join(folder, `${name}.yaml`), 'json');
        const golden = join(folder, `${name}.json`);
        if (UPDATE) writeFileSync(golden, text);
        assert.equal(text, readFileSync(golden, 'utf8'));
        const [answer] = JSON.parse(text) as PolicyAnswer[];
        assert.equal(code, answer?.kind === 'reject' ? 1 : 0);
        assert.ok(answer?.kind !== 'leave' || answer.reason, 'a pod is left alone with a reason');
        assert.ok(answer?.kind !== 'reject' || answer.notes.length > 0, 'a rejected pod says what is wrong');
      });
    }

    it('has no answer without a pod', () => {
      const answers = readdirSync(folder).filter((name) => name.endsWith('.json'));
      assert.deepEqual(answers.sort(), names.map((name) => `${name}.json`).sort());
    });

    it('has fifteen pods or more, and prints each as a table', async () => {
      assert.ok(names.length >= 15, `${names.length}`);
      for (const name of names) {
        const { text } = await shown(join(folder, `${name}.yaml`), 'table');
        assert.match(text, /^Verdict: /m, name);
      }
    });
  });
}
