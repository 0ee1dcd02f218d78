import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCli } from '../../test/fixtures/cli.ts';

const FIXTURES = new URL('../../test/fixtures/istio/', import.meta.url).pathname;
const DUAL = `${FIXTURES}cni-dual-stack.yaml`;

describe('shunt iptables render', () => {
  it('prints a document for each family, with everything else as comments', async () => {
    const { code, stdout, stderr } = await runCli(['iptables', 'render', '-f', DUAL]);
    assert.equal(code, 0, stderr);
    assert.equal(stdout.match(/^\*nat$/gm)?.length, 2);
    assert.match(stdout, /^-A SHUNT_OUTPUT -s 127\.0\.0\.6\/32 -o lo -j RETURN$/m);
    assert.match(stdout, /^-A SHUNT_OUTPUT -s ::6\/128 -o lo -j RETURN$/m);
    for (const line of stdout.trimEnd().split('\n')) assert.match(line, /^(#|\*|:SHUNT_|-A |COMMIT$)/);
  });

  it('prints one family alone', async () => {
    const { stdout } = await runCli(['iptables', 'render', '-f', DUAL, '--family', 'ipv6']);
    assert.equal(stdout.match(/^\*nat$/gm)?.length, 1);
    assert.doesNotMatch(stdout, /127\.0\.0\.6/);
  });

  it('gives documents as JSON', async () => {
    const { stdout } = await runCli(['iptables', 'render', '-f', DUAL, '-o', 'json']);
    const [answer] = JSON.parse(stdout);
    assert.deepEqual(Object.keys(answer), ['namespace', 'name', 'kind', 'reason', 'documents', 'notes']);
    assert.deepEqual(
      answer.documents.map(({ family }: { family: string }) => family),
      ['ipv4', 'ipv6'],
    );
  });

  it('says why a pod is left alone, and ends with 1 when an annotation is rejected', async () => {
    const left = await runCli(['iptables', 'render', '-f', `${FIXTURES}host-network.yaml`]);
    assert.equal(left.code, 0);
    assert.match(left.stdout, /^# \S+: left alone: it uses the host's network\n$/);
    const rejected = await runCli(['iptables', 'render', '-f', `${FIXTURES}bad-port.yaml`]);
    assert.equal(rejected.code, 1);
    assert.match(rejected.stdout, /^# \S+: rejected$/m);
    assert.doesNotMatch(rejected.stdout, /^\*/m);
  });

  it('names the file that it cannot read', async () => {
    const { code, stderr } = await runCli(['iptables', 'render', '-f', '/nowhere.yaml']);
    assert.equal(code, 1);
    assert.match(stderr, /\/nowhere\.yaml.*\[SHUNT_E_FILE\]/);
  });
});
