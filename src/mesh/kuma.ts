/**
 * Kuma and Kong Mesh. The whole configuration of the rules is YAML in one annotation (2.9 and later). Before that, the
 * arguments of `kuma-init` or, in CNI mode, single annotations that the injector wrote.
 *
 * Sources: kumahq/kuma pkg/transparentproxy/config, app/kumactl/cmd/install/install_transparent_proxy.go,
 * pkg/plugins/runtime/k8s/{metadata,webhooks/injector}, app/cni; in words in reference/meshes.md 1.3 and 2.3.
 */
import type { PodObject } from '../pod/workload.ts';
import { addressFamily, parseAddress } from '../policy/address.ts';
import { basePolicy, type RedirectPolicy } from '../policy/policy.ts';
import { kumaSettings } from './kuma_settings.ts';
import { NO_NAMESERVERS, nameserversOf } from './nameservers.ts';
import type { MeshProfile, ProfileContext, Recognition } from './profile.ts';
import { containerOf, leave, Reading } from './reading.ts';

const PROXY = 'kuma-sidecar';
const INIT = 'kuma-init';
const GATEWAY = 'kuma.io/gateway';
/** Namespaces that the CNI plugin never looks at, as its chart has it. */
const EXCLUDED_NAMESPACES = ['kube-system'];
const INJECTED = 'kuma.io/sidecar-injected';

export const kuma: MeshProfile = { name: 'kuma', recognise: recogniseKuma };

function recogniseKuma(pod: PodObject, context: ProfileContext = {}): Recognition | null {
  const { annotations } = pod.metadata;
  if (containerOf(pod, 'kuma-gateway') !== null || annotations[GATEWAY] === 'builtin') {
    return leave("it is a gateway of Kuma's own, which captures nothing");
  }
  const injected = annotations[INJECTED] === 'true';
  if (containerOf(pod, PROXY) === null) {
    return injected ? leave(`it has the annotation ${INJECTED}, but no container ${PROXY}`) : null;
  }
  const init = containerOf(pod, INIT);
  if (init === null && !injected)
    return leave(`it was not injected: it has no annotation ${INJECTED}: "true"`);
  const { namespace } = pod.metadata;
  if (
    init === null &&
    (context.settings?.kuma?.excludeNamespaces ?? EXCLUDED_NAMESPACES).includes(namespace)
  ) {
    return leave(`Kuma's CNI plugin leaves the namespace ${namespace} alone`);
  }
  const reading = new Reading('Kuma');
  const settings = kumaSettings(reading, pod, init, context.settings?.kuma);
  if (settings === null) return { kind: 'reject', notes: reading.rejected };
  const base = basePolicy(
    'kuma',
    { proxyUids: [settings.uid], proxyGids: [] },
    { outbound: settings.outbound.port, inbound: settings.inbound.port, tunnel: null },
  );
  const servers = settings.dns.captureAll ? [] : nameserversOf(pod, context);
  if (settings.dns.enabled && !settings.dns.captureAll && servers.length === 0) {
    reading.note('redirect.dns.captureAll', 'false', NO_NAMESERVERS);
  }
  const dns: RedirectPolicy['dns'] = settings.dns.enabled
    ? {
        mode: settings.dns.captureAll ? 'all' : 'servers',
        servers,
        target: { address: null, port: settings.dns.port },
        tcp: 'bypass',
        splitZones: !settings.dns.skipZones,
      }
    : base.dns;
  return reading.finish(pod, PROXY, {
    ...base,
    families: { ip4: true, ip6: settings.dualStack && hasIp6(pod) },
    exempt: { ...base.exempt, uidPorts: settings.outbound.uidPorts },
    outbound: {
      ...base.outbound,
      enabled: settings.outbound.enabled,
      // With a list of ports to capture, Kuma does not look at the exclusions.
      excludePorts: settings.outbound.includePorts.length === 0 ? settings.outbound.excludePorts : [],
      includePorts: settings.outbound.includePorts,
      excludeCidrs: settings.outbound.excludeAddresses,
      includeCidrs: settings.outbound.includePorts.length === 0 ? '*' : [],
    },
    inbound: {
      enabled:
        settings.inbound.enabled && annotations[GATEWAY] !== 'enabled' && annotations[GATEWAY] !== 'provided',
      includePorts: settings.inbound.includePorts.length === 0 ? '*' : settings.inbound.includePorts,
      excludePorts: settings.inbound.includePorts.length === 0 ? settings.inbound.excludePorts : [],
      excludeSources: settings.inbound.excludeAddresses,
    },
    interfaces: { ...base.interfaces, virtual: settings.virtual },
    dns,
    misc: { dropInvalid: settings.dropInvalid },
  });
}

/** Rules of IPv6 are left out where the pod has no address of it; before it has any, nobody knows. */
function hasIp6(pod: PodObject): boolean {
  const all = pod.status.podIPs;
  return all.length === 0 || all.some((ip) => addressFamily(parseAddress(ip) ?? new Uint8Array(16)) === 6);
}
