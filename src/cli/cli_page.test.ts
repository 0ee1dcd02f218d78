import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { runCli } from '../../test/fixtures/cli.ts';

const PAGE = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');

/** Names of the commands or options in a help text. */
function namesIn(help: string, pattern: RegExp): string[] {
  return [...help.matchAll(pattern)].flatMap(([, name]) => (name === undefined ? [] : [name]));
}

describe('the page of commands', () => {
  it('has every command and every option of it', async () => {
    const top = namesIn((await runCli(['--help'])).stdout, /^ {2}([a-z]+)(?: \[options\])? {2,}/gm);
    assert.ok(top.includes('cleanup') && top.includes('map'));
    for (const name of top.filter((command) => command !== 'help')) {
      const help = (await runCli(['help', name])).stdout;
      const [own = '', groups = ''] = help.split('Global Options:');
      for (const option of namesIn(own, /^ {2}(?:-\w, )?(--[a-z-]+)/gm))
        assert.ok(PAGE.includes(option), `${name} ${option}`);
      const verbs = namesIn(groups, /^ {2}([a-z]+)(?: \[options\])?(?: [<[].*?)? {2,}/gm).filter(
        (verb) => verb !== 'help',
      );
      for (const verb of verbs.length === 0 ? [''] : verbs) {
        assert.ok(PAGE.includes(`shunt ${name} ${verb}`.trim()), `shunt ${name} ${verb}`);
      }
    }
  });
});
