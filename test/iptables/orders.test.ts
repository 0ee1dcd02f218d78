/** The rendered rules of every mesh, read by an interpreter that does not know the model, decide as `decideInOrder` says. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { type ConnectionFacts, decideAllNatively } from '../../src/datapath/ebpf/native_decision.ts';
import { renderDocument } from '../../src/datapath/iptables/render.ts';
import { decideInOrder } from '../../src/policy/decision.ts';
import { basePolicy, type RedirectPolicy } from '../../src/policy/policy.ts';
import { Interpreter, type Verdict } from './interpreter.ts';
import { cases, connectionOf, policies } from './mesh_policies.ts';
import { type Case, OWN } from './policies.ts';

/** How much longer to look than CI does. */
const TIMES = Number(process.env.SHUNT_RUNS_TIMES ?? 1);

/** TCP to ::1 on port 53, where only IPv4 has a resolver and local traffic passes before DNS: captured as any port is. */
const QUERY_TO_LOCALHOST: [RedirectPolicy, Case[]] = [
  {
    ...basePolicy(
      'istio',
      { proxyUids: [], proxyGids: [1337] },
      { outbound: 15001, inbound: 15006, tunnel: 15008 },
    ),
    loopback: {
      localhost4: '127.0.0.1/32',
      application: 'bypass-local',
      sidecar: 'bypass',
      passthroughSource: false,
      sidecarLocalhostToPodIp: false,
    },
    dns: {
      mode: 'localhost',
      servers: [],
      target: { address: '192.0.2.53', port: 53 },
      tcp: 'capture',
      splitZones: true,
    },
  },
  [
    {
      family: 6,
      hook: 'OUTPUT',
      proto: 'tcp',
      sport: 40_000,
      iface: 'lo',
      dst: '::1',
      src: OWN[6],
      dport: 53,
      uid: 0,
      gid: 0,
    },
  ],
];

it('rendered rules and the ordered decision agree for every mesh, every setting, TCP and UDP', (t) => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(
      policies,
      fc.array(cases, { minLength: 1, maxLength: 25, size: 'max' }),
      (policy, packets) => {
        const rules = {
          4: new Interpreter(renderDocument(policy, 4, OWN[4])),
          6: new Interpreter(renderDocument(policy, 6, OWN[6])),
        };
        for (const packet of packets) {
          const { verdict, rule } = decideInOrder(policy, connectionOf(packet));
          seen.set(rule, (seen.get(rule) ?? 0) + 1);
          const said = nameOf(rules[packet.family].run(packet).verdict, policy);
          assert.deepEqual(said, verdict, `${rule} ${JSON.stringify(packet)}`);
        }
      },
    ),
    { numRuns: 3000 * TIMES },
  );
  t.diagnostic([...seen].map(([rule, count]) => `${rule} ${count}`).join(', '));
  assert.ok(seen.size >= 20, `only these rules decided: ${[...seen.keys()].join()}`);
});

it('bpf/policy.h and the ordered decision agree for every mesh, every setting but interfaces, TCP and UDP', () => {
  const sockets = policies.map((policy) => ({
    ...policy,
    interfaces: { exclude: [], reroute: [], virtual: [] },
    // The other orders have it elsewhere, and no mesh of them has it at all.
    loopback: {
      ...policy.loopback,
      sidecarLocalhostToPodIp: policy.loopback.sidecarLocalhostToPodIp && policy.mesh === 'osm',
    },
  }));
  fc.assert(
    fc.property(
      sockets,
      // Inbound datagrams reach no program.
      fc.array(
        cases.filter(({ hook, proto }) => hook === 'OUTPUT' || proto === 'tcp'),
        { minLength: 1, maxLength: 25, size: 'max' },
      ),
      (policy, packets) => {
        const ordered = packets.map((packet) => decideInOrder(policy, connectionOf(packet)).verdict);
        const native = decideAllNatively(policy, packets.map(factsOf)).map(({ verdict }) => verdict);
        assert.deepEqual(native, ordered, JSON.stringify(packets));
      },
    ),
    { numRuns: 1000 * TIMES, examples: [QUERY_TO_LOCALHOST] },
  );
});

function factsOf(packet: Case): ConnectionFacts {
  const { direction, protocol, to, from, port, uid, gid, local } = connectionOf(packet);
  const other = from ?? new Uint8Array(16);
  if (direction === 'inbound') return { direction, port, local, remote: other };
  return { direction, protocol, uid, gid, identityConfirmed: true, local, port, to, from: other };
}

function nameOf(verdict: Verdict, { ports, dns }: RedirectPolicy): string {
  if (verdict.kind === 'accept') return 'pass';
  if (verdict.kind === 'dnat') return verdict.to.endsWith(':53') ? 'dns' : 'pod-address';
  if (verdict.kind !== 'redirect') return verdict.kind;
  if (verdict.port === ports.outbound) return 'outbound';
  if (verdict.port === ports.inbound) return 'inbound';
  return verdict.port === dns.target?.port ? 'dns' : JSON.stringify(verdict);
}
