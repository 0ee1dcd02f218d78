/**
 * AWS App Mesh. In init mode the environment of `proxyinit` holds the settings, in CNI mode (and on Fargate) annotations.
 *
 * Sources: aws/aws-app-mesh-controller-for-k8s pkg/inject/{proxy,init_proxy,cni_proxy}.go; of aws-appmesh-proxy-route-manager
 * an older public copy; in words in reference/meshes.md 1.6 and 2.3.
 */
import type { PodObject } from '../pod/workload.ts';
import { addressFamily, parseAddress } from '../policy/address.ts';
import { basePolicy, type RedirectPolicy } from '../policy/policy.ts';
import { parseCidrOrAddress, parseIdList, parseList, parsePort, parsePortList } from './annotation_list.ts';
import type { MeshProfile, Recognition } from './profile.ts';
import { containerOf, leave, Reading } from './reading.ts';

const PROXY = 'envoy';
const INIT = 'proxyinit';
const DOMAIN = 'appmesh.k8s.aws';
/** What the script lets pass whatever it is told. */
const ALWAYS_IGNORED_PORT = 22;
/** Instance metadata and task roles. */
const DEFAULT_IGNORED_IPS = '169.254.169.254,169.254.170.2';
const LENIENT = { spaces: true, emptyElements: true };

/** Where each setting stands: in the environment of proxyinit, or in an annotation. */
const SETTINGS = {
  appPorts: ['APPMESH_APP_PORTS', 'ports'],
  ignoredPorts: ['APPMESH_EGRESS_IGNORED_PORTS', 'egressIgnoredPorts'],
  ignoredIps: ['APPMESH_EGRESS_IGNORED_IP', 'egressIgnoredIPs'],
  egressPort: ['APPMESH_ENVOY_EGRESS_PORT', 'proxyEgressPort'],
  ingressPort: ['APPMESH_ENVOY_INGRESS_PORT', 'proxyIngressPort'],
  uid: ['APPMESH_IGNORE_UID', 'ignoredUID'],
  gid: ['APPMESH_IGNORE_GID', 'ignoredGID'],
} as const;

export const appmesh: MeshProfile = { name: 'appmesh', recognise: recogniseAppMesh };

function recogniseAppMesh(pod: PodObject): Recognition | null {
  const { annotations } = pod.metadata;
  const proxy = containerOf(pod, PROXY);
  const init = containerOf(pod, INIT);
  const cni = cniMode(pod);
  const resource = proxy?.env.APPMESH_RESOURCE_ARN ?? proxy?.env.APPMESH_VIRTUAL_NODE_NAME;
  const marked = annotations[`${DOMAIN}/sidecarInjectorWebhook`] !== undefined || resource !== undefined;
  if (!marked && init?.env.APPMESH_START_ENABLED === undefined) return null;
  if (proxy === null) return leave(`App Mesh marked it, but it has no container ${PROXY}`);
  if (resource?.includes(':virtualGateway/') || resource?.includes('/virtualGateway/')) {
    return leave('it is a virtual gateway of App Mesh');
  }
  if (annotations[`${DOMAIN}/sidecarInjectorWebhook`] === 'disabled') {
    return leave(`${DOMAIN}/sidecarInjectorWebhook is disabled`);
  }
  if (init === null && !cni)
    return leave(`it has neither a container ${INIT} nor App Mesh's CNI: nothing is captured`);
  if (init !== null && init.env.APPMESH_START_ENABLED === '0') {
    return leave(`${INIT} is switched off (APPMESH_START_ENABLED=0)`);
  }
  const reading = new Reading('App Mesh');
  const read = (setting: keyof typeof SETTINGS): [name: string, text: string | undefined] => {
    const [env, word] = SETTINGS[setting];
    const name = `${DOMAIN}/${word}`;
    return init === null ? [name, annotations[name]] : [`env ${env}`, init.env[env]];
  };
  const ports = (setting: keyof typeof SETTINGS, instead: string) => {
    const [name, text = instead] = read(setting);
    return reading.take(name, text, (list) => parsePortList(list, LENIENT), []);
  };
  const [ipsName, ipsText] = read('ignoredIps');
  const policy = basePolicy(
    'appmesh',
    { proxyUids: ids(reading, read('uid'), '1337'), proxyGids: ids(reading, read('gid'), '') },
    {
      outbound: reading.take(...read('egressPort'), parsePort, 15_001),
      inbound: reading.take(...read('ingressPort'), parsePort, 15_000),
      tunnel: null,
    },
  );
  return reading.finish(pod, PROXY, {
    ...policy,
    families: families(pod, init?.env.APPMESH_ENABLE_IPV6),
    loopback: { ...policy.loopback, sidecar: 'bypass', passthroughSource: false },
    outbound: {
      ...policy.outbound,
      excludePorts: [
        ...ports('ignoredPorts', '22'),
        { first: ALWAYS_IGNORED_PORT, last: ALWAYS_IGNORED_PORT },
      ],
      excludeCidrs: reading.take(
        ipsName,
        ipsText || DEFAULT_IGNORED_IPS,
        (list) => parseList(list, LENIENT, parseCidrOrAddress),
        [],
      ),
    },
    // Only what is listed. 0 is how the controller says that the virtual node has no listener.
    inbound: { ...policy.inbound, includePorts: ports('appPorts', '0').filter(({ first }) => first !== 0) },
  });
}

/** Pods on Fargate have App Mesh's CNI without being asked. */
function cniMode({ metadata }: PodObject): boolean {
  const annotated = metadata.annotations[`${DOMAIN}/appmeshCNI`];
  if (annotated !== undefined) return annotated.toLowerCase() === 'enabled';
  return (metadata.labels['eks.amazonaws.com/fargate-profile'] ?? '') !== '';
}

function ids(reading: Reading, [name, text]: [string, string | undefined], instead: string): number[] {
  return reading.take(name, text || instead, (list) => parseIdList(list, LENIENT), []);
}

function families(pod: PodObject, enabled: string | undefined): RedirectPolicy['families'] {
  if (pod.metadata.annotations[`${DOMAIN}/ipv6`] === 'disabled') return { ip4: true, ip6: false };
  const ip6 = pod.status.podIPs.some((ip) => addressFamily(parseAddress(ip) ?? new Uint8Array(16)) === 6);
  return { ip4: true, ip6: enabled === undefined ? ip6 : enabled === '1' };
}
