/** The meshes compared, and what a test of each has to know beside its rules: who the sidecar is and where it listens. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { recognise } from '../../src/mesh/recognise.ts';
import { parseManifest } from '../../src/pod/manifest.ts';
import type { RedirectPolicy } from '../../src/policy/policy.ts';

export type Family = 4 | 6;

export interface Mesh {
  name: string;
  /** Uid and gid of the sidecar. */
  proxyId: number;
  /** Where the sidecar listens for outbound connections; Linkerd does so on localhost alone. */
  outboundHost: 'any' | 'localhost';
  outbound: number;
  inbound: number;
  /** Families that the mesh has rules for. */
  families: readonly Family[];
}

const DUAL = [4, 6] as const;

export const MESHES: readonly Mesh[] = [
  { name: 'istio', proxyId: 1337, outboundHost: 'any', outbound: 15001, inbound: 15006, families: DUAL },
  {
    name: 'linkerd',
    proxyId: 2102,
    outboundHost: 'localhost',
    outbound: 4140,
    inbound: 4143,
    families: DUAL,
  },
  { name: 'kuma', proxyId: 5678, outboundHost: 'any', outbound: 15001, inbound: 15006, families: DUAL },
  {
    name: 'consul',
    proxyId: 5995,
    outboundHost: 'localhost',
    outbound: 15001,
    inbound: 20000,
    families: DUAL,
  },
  { name: 'osm', proxyId: 1500, outboundHost: 'any', outbound: 15001, inbound: 15003, families: [4] },
  { name: 'appmesh', proxyId: 1337, outboundHost: 'any', outbound: 15001, inbound: 15000, families: DUAL },
];

/** The policy that we make of the mesh's pod. */
export function policyOf({ name }: Mesh): RedirectPolicy {
  const file = join(import.meta.dirname, 'pods', `${name}.yaml`);
  const [pod] = parseManifest(readFileSync(file, 'utf8'), file);
  if (pod === undefined) throw new Error(`${file} has no pod`);
  const recognition = recognise(pod);
  if (recognition.kind !== 'redirect') throw new Error(`${file}: ${JSON.stringify(recognition)}`);
  return recognition.policy;
}

/** The mesh's own rules, written by hand from its description: text for iptables-restore. */
export function oracleRules({ name }: Mesh, family: Family): string {
  const file = `${name}.rules${family === 4 ? '' : '6'}`;
  return readFileSync(join(import.meta.dirname, 'oracle', file), 'utf8');
}
