/**
 * The ids that OpenShift gives a namespace. Istio's injector takes the highest of them for the sidecar, Consul's the last
 * but one that no container of the pod has; both write them into the pod, so these are asked where a pod says none.
 *
 * Sources: istio/istio pkg/kube/inject/inject.go (GetProxyIDs) and openshift.go, hashicorp/consul-k8s
 * control-plane/connect-inject/common/openshift.go.
 */
import { type Parsed, quote } from './annotation_list.ts';
import type { NamespaceObject } from './profile.ts';

export const UID_RANGE = 'openshift.io/sa.scc.uid-range';
export const SUPPLEMENTAL_GROUPS = 'openshift.io/sa.scc.supplemental-groups';

/** 2^32 - 1 means "no change" to the kernel. */
const HIGHEST_ID = 0xffff_fffe;

interface Block {
  first: number;
  last: number;
}

/** Name, text and value of an annotation that is there. */
export interface Allocated {
  annotation: string;
  text: string;
  block: Parsed<Block>;
}

/** The uids of the namespace; null where it is not OpenShift's, or not known. */
export function uidsOf(namespace: NamespaceObject | undefined): Allocated | null {
  const text = namespace?.annotations[UID_RANGE];
  return text === undefined ? null : { annotation: UID_RANGE, text, block: parseBlock(text) };
}

/** The first block of its groups, which are its uids where it has no groups of its own. */
export function groupsOf(namespace: NamespaceObject | undefined): Allocated | null {
  const text = namespace?.annotations[SUPPLEMENTAL_GROUPS];
  if (text === undefined) return uidsOf(namespace);
  const blocks = text.split(',').map(parseBlock);
  const [first = parseBlock('')] = blocks;
  return { annotation: SUPPLEMENTAL_GROUPS, text, block: blocks.find(({ ok }) => !ok) ?? first };
}

/** The last id but one of those that are not taken, or null where there are fewer than two. */
export function lastButOne({ first, last }: Block, taken: readonly (number | undefined)[]): number | null {
  let left = 2;
  for (let id = last; id >= first; id--) if (!taken.includes(id) && --left === 0) return id;
  return null;
}

/** `start/size` or `start-end`. */
function parseBlock(text: string): Parsed<Block> {
  const found = /^(\d{1,10})([/-])(\d{1,10})$/.exec(text);
  const first = Number(found?.[1]);
  const second = Number(found?.[3]);
  const last = found?.[2] === '/' ? first + second - 1 : second;
  if (found === null || last < first || last > HIGHEST_ID) {
    return { ok: false, problem: `${quote(text)} is not a block of ids such as 1000680000/10000` };
  }
  return { ok: true, value: { first, last } };
}
