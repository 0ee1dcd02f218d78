/** Every fixture's policy gives documents that the node's own iptables takes, both families, in a fresh namespace. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { renderDocument } from '../../src/datapath/iptables/render.ts';
import { recognise } from '../../src/mesh/recognise.ts';
import { parseManifest } from '../../src/pod/manifest.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');
const RESTORE = { 4: 'iptables-nft-restore', 6: 'ip6tables-nft-restore' } as const;

function documents(file: string): { tool: string; document: string }[] {
  return parseManifest(readFileSync(join(FIXTURES, file), 'utf8'), file).flatMap((pod) => {
    const recognition = recognise(pod);
    if (recognition.kind !== 'redirect') return [];
    return ([4, 6] as const).flatMap((family) => {
      const address = family === 4 ? '10.0.0.5' : 'fd00::5';
      const document = renderDocument(recognition.policy, family, address);
      return document === '' ? [] : [{ tool: RESTORE[family], document }];
    });
  });
}

const fixtures = globSync('*/*.yaml', { cwd: FIXTURES })
  .sort()
  .map((file) => ({ file, rules: documents(file) }))
  .filter(({ rules }) => rules.length > 0);

for (const mesh of new Set(fixtures.map(({ file }) => dirname(file)))) {
  describe(`iptables takes the rules of ${mesh}`, () => {
    for (const { file, rules } of fixtures.filter((each) => dirname(each.file) === mesh)) {
      it(`of ${basename(file, '.yaml')}`, () => {
        for (const { tool, document } of rules) {
          // Twice: the second time the chains are there.
          const script = 'for i in 1 2; do printf %s "$2" | "$1" --noflush || exit 1; done';
          const argv = ['--net', '--', 'sh', '-c', script, 'sh', tool, document];
          const { status, stderr } = spawnSync('unshare', argv, { encoding: 'utf8' });
          assert.equal(status, 0, `${tool}: ${stderr}\n${document}`);
        }
      });
    }
  });
}

it('there are fixtures of every mesh', () => assert.ok(fixtures.length >= 60, `${fixtures.length} fixtures`));
