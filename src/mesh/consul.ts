/**
 * Consul (consul-k8s). Its webhook writes the whole configuration of the rules as JSON: in CNI mode into an annotation, in
 * init mode into the environment of the init container. The user's own annotations have been merged into it.
 *
 * Sources: hashicorp/consul-k8s control-plane/connect-inject/webhook/redirect_traffic.go, control-plane/cni/main.go,
 * consul sdk/iptables; in words in reference/meshes.md 1.4 and 2.3.
 */
import * as v from 'valibot';
import type { PodObject } from '../pod/workload.ts';
import { canonicalAddress } from '../policy/address.ts';
import { basePolicy, type RedirectPolicy } from '../policy/policy.ts';
import {
  type Parsed,
  parseCidrOrAddress,
  parseGoBool,
  parseIdRange,
  parsePortRange,
  refuse,
} from './annotation_list.ts';
import { lastButOne, UID_RANGE, uidsOf } from './openshift.ts';
import type { MeshProfile, NamespaceObject, ProfileContext, Recognition } from './profile.ts';
import { containerOf, leave, Reading } from './reading.ts';

const PROXY = 'consul-dataplane';
const INIT = 'consul-connect-inject-init';
const DOMAIN = 'consul.hashicorp.com';
const CONFIG = `${DOMAIN}/redirect-traffic-config`;
const CONFIG_ENV = 'CONSUL_REDIRECT_TRAFFIC_CONFIG';
const DUAL_STACK = `${DOMAIN}/dual-stack`;
const OUTBOUND = 15_001;
const DNS_PORT = 53;

export const consul: MeshProfile = { name: 'consul', recognise: recogniseConsul };

const texts = v.nullish(v.array(v.string()), []);
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
const Config = v.object({
  ConsulDNSIP: v.nullish(v.string(), ''),
  ConsulDNSPort: v.nullish(port, 0),
  ProxyUserID: v.nullish(v.string(), ''),
  ProxyInboundPort: v.pipe(port, v.minValue(1)),
  ProxyOutboundPort: v.nullish(port, 0),
  ExcludeInboundPorts: texts,
  ExcludeOutboundPorts: texts,
  ExcludeOutboundCIDRs: texts,
  ExcludeUIDs: texts,
});
type Config = v.InferOutput<typeof Config>;

function recogniseConsul(pod: PodObject, { namespace }: ProfileContext = {}): Recognition | null {
  const { annotations } = pod.metadata;
  if (annotations[`${DOMAIN}/gateway-kind`] !== undefined) {
    return leave(`it is a gateway of Consul (${DOMAIN}/gateway-kind)`);
  }
  const injected =
    (annotations[`${DOMAIN}/connect-inject-status`] ?? annotations[`${DOMAIN}/mesh-inject-status`] ?? '') !==
    '';
  if (containerOf(pod, PROXY) === null) {
    return injected ? leave(`Consul injected it, but it has no container ${PROXY}`) : null;
  }
  if (!injected) return leave(`it was not injected: it has no annotation ${DOMAIN}/connect-inject-status`);
  if ((annotations[`${DOMAIN}/transparent-proxy-status`] ?? '') === '') {
    return leave(
      `Consul's transparent proxy is off for it (no annotation ${DOMAIN}/transparent-proxy-status)`,
    );
  }
  const reading = new Reading('Consul');
  const fromInit = containerOf(pod, INIT)?.env[CONFIG_ENV];
  const [name, text] =
    fromInit === undefined || fromInit === ''
      ? [CONFIG, annotations[CONFIG]]
      : [`env ${CONFIG_ENV}`, fromInit];
  if (text === undefined) {
    reading.reject(CONFIG, '', 'it is missing');
    return { kind: 'reject', notes: reading.rejected };
  }
  const config = reading.take<Config | null>(name, text, parseConfig, null);
  if (config === null) return { kind: 'reject', notes: reading.rejected };
  if (config.ProxyUserID === '') config.ProxyUserID = allocatedUser(reading, name, pod, namespace);
  return reading.finish(pod, PROXY, policyOf(reading, name, config, dualStack(reading, pod)));
}

/** On OpenShift the webhook takes the user from the namespace; elsewhere Consul makes no rules without one. */
function allocatedUser(
  reading: Reading,
  name: string,
  pod: PodObject,
  namespace: NamespaceObject | undefined,
): string {
  const allocated = uidsOf(namespace);
  if (allocated === null) {
    reading.reject(`${name}, ProxyUserID`, '', 'it is missing');
    return '';
  }
  const { text, block } = allocated;
  const applications = pod.spec.containers.filter((container) => container.name !== PROXY);
  const taken = applications.map(({ runAsUser }) => runAsUser);
  const user = block.ok ? lastButOne(block.value, taken) : null;
  if (user !== null) return String(user);
  const problem = block.ok ? 'it has fewer than two ids that no container takes' : block.problem;
  reading.reject(`namespace, ${UID_RANGE}`, text, problem);
  return '';
}

function policyOf(reading: Reading, name: string, config: Config, ip6: boolean): RedirectPolicy {
  const each = <T>(field: string, list: string[], parse: (text: string) => Parsed<T>): T[] =>
    list.flatMap((text) => {
      const value = reading.take<T | null>(`${name}, ${field}`, text, parse, null);
      return value === null ? [] : [value];
    });
  // iptables takes A:B, the newer nftables code A-B as well.
  const portRange = (text: string) => parsePortRange(text, ':-');
  const [user] = each('ProxyUserID', config.ProxyUserID === '' ? [] : [config.ProxyUserID], parseUser);
  const base = basePolicy(
    'consul',
    { proxyUids: user === undefined ? [] : [user], proxyGids: [] },
    { outbound: config.ProxyOutboundPort || OUTBOUND, inbound: config.ProxyInboundPort, tunnel: null },
  );
  return {
    ...base,
    families: { ip4: true, ip6 },
    exempt: { ...base.exempt, uids: each('ExcludeUIDs', config.ExcludeUIDs, parseIdRange) },
    loopback: {
      ...base.loopback,
      // There is no rule about lo: only localhost itself is passed.
      application: 'bypass-localhost',
      sidecar: 'bypass',
      passthroughSource: false,
    },
    outbound: {
      ...base.outbound,
      excludePorts: each('ExcludeOutboundPorts', config.ExcludeOutboundPorts, portRange),
      excludeCidrs: each('ExcludeOutboundCIDRs', config.ExcludeOutboundCIDRs, parseCidrOrAddress),
    },
    inbound: {
      ...base.inbound,
      excludePorts: each('ExcludeInboundPorts', config.ExcludeInboundPorts, portRange),
    },
    dns: dns(reading, name, config),
  };
}

/** With a port, only what is sent to localhost goes to that port of it; with an address alone, every query goes there. */
function dns(reading: Reading, name: string, config: Config): RedirectPolicy['dns'] {
  const rest = { servers: [], tcp: 'capture', splitZones: false } as const;
  if (config.ConsulDNSPort !== 0) {
    return { ...rest, servers: [], mode: 'localhost', target: { address: null, port: config.ConsulDNSPort } };
  }
  if (config.ConsulDNSIP === '') {
    return { mode: 'off', servers: [], target: null, tcp: 'as-other-tcp', splitZones: false };
  }
  const address = canonicalAddress(config.ConsulDNSIP);
  if (address === null) {
    reading.reject(`${name}, ConsulDNSIP`, config.ConsulDNSIP, 'it is not an IP address');
  }
  return { ...rest, servers: [], mode: 'all', target: { address, port: DNS_PORT } };
}

function dualStack(reading: Reading, pod: PodObject): boolean {
  const text = pod.metadata.annotations[DUAL_STACK];
  // Versions before dual stack wrote none, and their rules were of IPv4.
  if (text === undefined) return false;
  return reading.take(
    DUAL_STACK,
    text,
    (value) => {
      const parsed = parseGoBool(value);
      return parsed === null ? refuse(value, 'true or false') : { ok: true, value: parsed };
    },
    false,
  );
}

function parseUser(text: string): Parsed<number> {
  const parsed = parseIdRange(text);
  return parsed.ok && parsed.value.first === parsed.value.last
    ? { ok: true, value: parsed.value.first }
    : refuse(text, 'a numeric id');
}

function parseConfig(text: string): Parsed<Config> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, problem: 'it is not JSON' };
  }
  const parsed = v.safeParse(Config, value);
  if (parsed.success) return { ok: true, value: parsed.output };
  const [issue] = parsed.issues;
  return { ok: false, problem: `its field ${v.getDotPath(issue) ?? '(whole)'} is not what it takes` };
}
