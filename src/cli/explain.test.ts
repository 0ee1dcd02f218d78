/**
 * What `shunt explain` says, held to test/fixtures/explain/. After a change that is meant:
 *
 *     SHUNT_UPDATE_GOLDEN=1 node --conditions=source --test src/cli/explain.test.ts && git diff test/fixtures/explain
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Explanation } from './explain.ts';
import type { Io } from './io.ts';
import { runProgram } from './program.ts';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures');
const UPDATE = process.env.SHUNT_UPDATE_GOLDEN === '1';

async function explain(pod: string, words: string): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const io: Io = {
    out: (text) => {
      said.out += text;
    },
    note: () => {},
    err: (text) => {
      said.err += text;
    },
    colour: { out: false, err: false },
    env: {},
  };
  const file = pod === '' ? [] : ['-f', join(FIXTURES, 'istio', `${pod}.yaml`)];
  const code = await runProgram(['explain', ...file, ...words.split(' ').filter(Boolean)], io);
  return { code, ...said };
}

/** Name of the golden file, pod, question, verdict. */
const GOLDEN = [
  ['outbound', 'cni-dual-stack', '--to 192.0.2.1:80 --uid 1000', 'outbound'],
  ['outbound-ip6', 'cni-dual-stack', '--to [2001:db8::1]:443 --uid 1000', 'outbound'],
  ['sidecar', 'cni-dual-stack', '--to 192.0.2.1:80 --uid 1337', 'pass'],
  ['localhost', 'cni-dual-stack', '--to 127.0.0.1:80 --uid 1000', 'pass'],
  ['passthrough-source', 'cni-dual-stack', '--to 127.0.0.9:80 --uid 1337 --from 127.0.0.6', 'pass'],
  ['inbound', 'cni-dual-stack', '--inbound --from 192.0.2.1 --port 8080', 'inbound'],
  ['health-port', 'cni-dual-stack', '--inbound --from 192.0.2.1 --port 15021', 'pass'],
  ['udp', 'cni-dual-stack', '--to 192.0.2.1:123 --uid 1000 --udp', 'pass'],
  ['dns', 'cni-dns-capture', '--to 192.0.2.53:53 --uid 1000 --udp', 'dns'],
  ['dns-of-sidecar', 'cni-dns-capture', '--to 192.0.2.53:53 --uid 1337 --udp', 'pass'],
  ['left-alone', 'host-network', '--to 192.0.2.1:80 --uid 1000', 'pass'],
  ['rejected', 'bad-port', '--to 192.0.2.1:80 --uid 1000', null],
] as const;

describe('shunt explain', () => {
  for (const [name, pod, words, verdict] of GOLDEN) {
    it(`answers ${name} as it did: ${verdict ?? 'no verdict'}`, async () => {
      const { code, out } = await explain(pod, `${words} -o json`);
      const golden = join(FIXTURES, 'explain', `${name}.json`);
      if (UPDATE) writeFileSync(golden, out);
      assert.equal(out, readFileSync(golden, 'utf8'));
      const [answer] = JSON.parse(out) as Explanation[];
      assert.equal(answer?.verdict, verdict);
      assert.equal(code, pod === 'bad-port' ? 1 : 0);
    });
  }

  it('says verdict, port and rule in words', async () => {
    const { out } = await explain('cni-dual-stack', '--to 192.0.2.1:80 --uid 1000');
    assert.match(out, /^Verdict: +outbound$/m);
    assert.match(out, /^Goes to: +port 15001$/m);
    assert.match(out, /^Because: +every address is captured/m);
  });

  const wrong: [string, string, string, RegExp][] = [
    ['no pod', '', '--to 192.0.2.1:80 --uid 1', /either a pod or a file/],
    ['a pod and a file', 'cni-native', 'web --to 192.0.2.1:80 --uid 1', /either a pod or a file/],
    ['no target', 'cni-native', '--uid 1', /--to is missing/],
    ['no uid', 'cni-native', '--to 192.0.2.1:80', /--uid is missing/],
    ['a target without a port', 'cni-native', '--to 192.0.2.1 --uid 1', /is not IP:PORT/],
    ['an IPv6 target without brackets', 'cni-native', '--to 2001:db8::1:80 --uid 1', /is not IP:PORT/],
    ['a name for a target', 'cni-native', '--to example.com:80 --uid 1', /is not an IP address/],
    ['a leading zero', 'cni-native', '--to 192.0.2.01:80 --uid 1', /is not an IP address/],
    ['port 0', 'cni-native', '--to 192.0.2.1:0 --uid 1', /is not a port/],
    ['port 65536', 'cni-native', '--to 192.0.2.1:65536 --uid 1', /is not a port/],
    ['a negative uid', 'cni-native', '--to 192.0.2.1:80 --uid=-1', /--uid: "-1" is not an id/],
    ['a uid of 2^32 - 1', 'cni-native', '--to 192.0.2.1:80 --uid 4294967295', /is not an id/],
    ['a gid that is a name', 'cni-native', '--to 192.0.2.1:80 --uid 1 --gid root', /--gid: "root" is not/],
    ['families mixed', 'cni-native', '--to 192.0.2.1:80 --uid 1 --from ::1', /different families/],
    ['--uid with --inbound', 'cni-native', '--inbound --from 192.0.2.1 --port 80 --uid 1', /no meaning/],
    ['--to with --inbound', 'cni-native', '--inbound --from 192.0.2.1 --port 80 --to ::1:1', /no meaning/],
    ['--inbound without --from', 'cni-native', '--inbound --port 80', /--from is missing/],
    ['--port without --inbound', 'cni-native', '--to 192.0.2.1:80 --uid 1 --port 80', /is for --inbound/],
  ];
  for (const [what, pod, words, message] of wrong) {
    it(`refuses ${what}, and says what to do`, async () => {
      const { code, err, out } = await explain(pod, words);
      assert.equal(code, 2, err + out);
      assert.match(err, /\[SHUNT_E_USAGE\]/);
      assert.match(err, message);
      assert.match(err, /^fix: (?!see `shunt help`).+/m);
    });
  }
});
