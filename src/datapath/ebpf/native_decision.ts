/** Asks bpf/policy.h itself, built as a program of this machine: what it says is what the programs do. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../../errors.ts';
import { packageRoot } from '../../package_root.ts';
import { parseAddress } from '../../policy/address.ts';
import type { RedirectPolicy } from '../../policy/policy.ts';
import { HEADER_BITS, ID_LIST_NUMBER, LIST_NUMBER, rulesOf, scalarsOf } from './policy_entries.ts';

/** enum verdict of policy.h, in its order. */
const VERDICTS = ['pass', 'outbound', 'inbound', 'dns', 'pod-address'] as const;
/** enum rule of policy.h, in its order. */
export const RULES = [
  'none',
  'excluded-port',
  'passthrough-source',
  'self-call',
  'app-local',
  'sidecar',
  'localhost',
  'excluded-cidr',
  'included-port',
  'included-cidr',
  'capture-all',
  'not-included',
  'tunnel-port',
  'local-traffic',
  'family',
  'exempt-user',
  'exempt-user-port',
  'exempt-group',
  'sidecar-localhost',
  'dns',
  'dns-over-tcp',
  'excluded-source',
  'no-query',
] as const;

export interface NativeDecision {
  verdict: (typeof VERDICTS)[number];
  rule: (typeof RULES)[number];
}

/** A TCP connection, or a UDP datagram, as policy.h asks for it. */
export type ConnectionFacts =
  | {
      direction: 'outbound';
      protocol: 'tcp' | 'udp';
      uid: number;
      gid: number;
      /** Runs in the sidecar's cgroup, or that is not known. */
      identityConfirmed: boolean;
      /** To an address of the pod's own namespace. */
      local: boolean;
      port: number;
      /** 16 bytes, network order. */
      to: Uint8Array;
      from: Uint8Array;
    }
  | {
      direction: 'inbound';
      port: number;
      local: boolean;
      /** The other end, 16 bytes, network order. */
      remote: Uint8Array;
    };

/** @throws SHUNT_E_OBJECT_MISSING when the program was not built, SHUNT_E_POLICY for a CIDR that is none */
export function decideNatively(policy: RedirectPolicy, facts: ConnectionFacts): NativeDecision {
  const [decision] = decideAllNatively(policy, [facts]);
  if (decision === undefined) throw new Error('one case, no decision');
  return decision;
}

/** As decideNatively, for many in one run of the program. */
export function decideAllNatively(
  policy: RedirectPolicy,
  facts: readonly ConnectionFacts[],
): NativeDecision[] {
  const program = join(packageRoot(), 'dist', 'decide');
  if (!existsSync(program)) {
    throw new ShuntError('SHUNT_E_OBJECT_MISSING', 'the program that decides is not built', {
      target: program,
      fix: 'build it with `npm run build`',
    });
  }
  const input = facts.map((each) => `${caseLine(policy, each)}\n`).join('');
  const output = execFileSync(program, { input, encoding: 'utf8' });
  return output
    .trimEnd()
    .split('\n')
    .map((line) => readDecision(line, program));
}

function readDecision(output: string, program: string): NativeDecision {
  const [verdict = Number.NaN, rule = Number.NaN] = output.split(' ').map(Number);
  const decision = { verdict: VERDICTS[verdict], rule: RULES[rule] };
  if (decision.verdict === undefined || decision.rule === undefined) {
    throw new ShuntError('SHUNT_E_OBJECT_MISSING', `it answered ${JSON.stringify(output)}`, {
      target: program,
      fix: 'it is of another version: build it with `npm run build`',
    });
  }
  return { verdict: decision.verdict, rule: decision.rule };
}

/** The form that native/decide/decide.c reads. */
function caseLine(policy: RedirectPolicy, facts: ConnectionFacts): string {
  const scalars = scalarsOf(policy, 0n);
  const { ports, cidrs, ids } = rulesOf(policy, 0);
  const portList = ports.map(([{ prefixlen, port, list }, set]) => {
    const last = port + 2 ** (16 - (prefixlen - HEADER_BITS)) - 1;
    return `${LIST_NUMBER[list]}:${port}-${last}=${set}`;
  });
  const cidrList = cidrs.map(
    ([{ prefixlen, addr }, list]) => `${list}:${hex(addr.bytes)}/${prefixlen - HEADER_BITS}`,
  );
  const idList = ids.map(([{ prefixlen, id, list }, set]) => {
    const last = id + 2 ** (32 - (prefixlen - HEADER_BITS)) - 1;
    return `${ID_LIST_NUMBER[list]}:${id}-${last}=${set}`;
  });
  const { proxyUids, proxyGids } = policy.identity;
  const lists = [proxyUids, proxyGids, portList, cidrList].map((list) => list.join() || '-');
  const head = [scalars.flags, scalars.tunnel_port, ...lists];
  const [localhost = '', bits = ''] = policy.loopback.localhost4.split('/');
  const more = [`localhost=${hex(parseAddress(localhost) ?? new Uint8Array(16))}/${bits}`];
  if (idList.length > 0) more.push(`ids=${idList.join()}`);
  if (facts.direction === 'inbound') {
    return ['in', ...head, facts.port, bit(facts.local), ...more, `remote=${hex(facts.remote)}`].join(' ');
  }
  const { uid, gid, identityConfirmed, local, port, to, from } = facts;
  if (facts.protocol === 'udp') more.push('query');
  const said = [uid, gid, bit(identityConfirmed), bit(local), port, hex(to), hex(from)];
  return ['out', ...head, ...said, ...more].join(' ');
}

const bit = (value: boolean): number => (value ? 1 : 0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
