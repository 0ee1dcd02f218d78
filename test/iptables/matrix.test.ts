/**
 * Who reaches what under each mesh's own rules, as measured with real rules loaded, against what the interpreter makes
 * of ours. `out` and `in` are the sidecar's ports, `-` is left alone.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderDocument } from '../../src/datapath/iptables/render.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { consul, istio, kuma, linkerd } from '../fixtures/policies.ts';
import { Interpreter, type Packet } from './interpreter.ts';

const POD = '10.0.0.5';
const APP = { uid: 1000, gid: 1000 };
type Who = (policy: RedirectPolicy) => { uid: number; gid: number };
const app: Who = () => APP;
const proxy: Who = ({ identity }) => ({
  uid: identity.proxyUids[0] ?? 0,
  gid: identity.proxyGids[0] ?? 1000,
});
const group: Who = (policy) => ({ ...APP, gid: proxy(policy).uid });
const rootGroup: Who = (policy) => ({ uid: 0, gid: proxy(policy).uid });

const MESHES = { istio, kuma, linkerd, consul };

/** Case, who, source, destination, port, then the result for istio, kuma, linkerd, consul. */
const OUTBOUND: [string, Who, string, string, number, string][] = [
  ['app to outside', app, POD, '10.1.2.3', 80, 'out out out out'],
  ['app to 127.0.0.1', app, '127.0.0.1', '127.0.0.1', 80, '- - - -'],
  ['app to 127.0.0.9', app, '127.0.0.1', '127.0.0.9', 80, '- - - out'],
  ['app to its own pod', app, POD, POD, 80, '- - - out'],
  ["app of the sidecar's gid to outside", group, POD, '10.1.2.3', 80, '- out out out'],
  ["root of the sidecar's gid to its own pod", rootGroup, POD, POD, 80, '- - - out'],
  ['sidecar to outside', proxy, POD, '10.1.2.3', 80, '- - - -'],
  ['sidecar to its own pod', proxy, POD, POD, 8080, 'in in - -'],
  ['sidecar to its own tunnel port', proxy, POD, POD, 15008, '- in - -'],
  ['sidecar from 127.0.0.6 to its own pod', proxy, '127.0.0.6', POD, 8080, '- - - -'],
  ['app from 127.0.0.6 to its own pod', app, '127.0.0.6', POD, 8080, '- - - out'],
  ['sidecar to 127.0.0.6:15002, the validation', proxy, '127.0.0.1', '127.0.0.6', 15002, 'in in - -'],
  ['sidecar to 127.0.0.1', proxy, '127.0.0.1', '127.0.0.1', 8080, '- - - -'],
];
const INBOUND: [number, string][] = [
  [8080, 'in in in in'],
  [15008, '- in in in'],
];

for (const [index, [name, make]] of Object.entries(MESHES).entries()) {
  describe(`the rules of ${name}`, () => {
    const policy = make();
    const rules = new Interpreter(renderDocument(policy, 4, POD));
    const result = (packet: Packet): string => {
      const { verdict } = rules.run(packet);
      if (verdict.kind !== 'redirect') return verdict.kind === 'accept' ? '-' : verdict.kind;
      const names = new Map([
        [policy.ports.outbound, 'out'],
        [policy.ports.inbound, 'in'],
      ]);
      return names.get(verdict.port ?? 0) ?? String(verdict.port);
    };
    for (const [what, who, src, dst, dport, results] of OUTBOUND) {
      const expected = results.split(' ')[index];
      it(`${what}: ${expected}`, () => {
        const iface = dst.startsWith('127.') || dst === POD ? 'lo' : 'eth0';
        assert.equal(
          result({ hook: 'OUTPUT', proto: 'tcp', src, dst, dport, iface, ...who(policy) }),
          expected,
        );
      });
    }
    for (const [dport, results] of INBOUND) {
      const expected = results.split(' ')[index];
      it(`outside to port ${dport}: ${expected}`, () => {
        const packet = { src: '10.1.2.3', dst: POD, dport, iface: 'eth0' };
        assert.equal(result({ hook: 'PREROUTING', proto: 'tcp', ...packet }), expected);
      });
    }
  });
}
