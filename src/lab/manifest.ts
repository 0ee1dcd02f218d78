import { stringify } from 'yaml';
import {
  INBOUND_EXCLUDED,
  INBOUND_PORT,
  OUTBOUND_PORT,
  SIDECAR_CONTAINER,
  SIDECAR_GID,
  SIDECAR_UID,
} from './istio.ts';

export interface ManifestOptions {
  name: string;
  namespace?: string;
  uid?: string;
  /** Added to what the injector writes, or in its place. */
  annotations?: Record<string, string>;
  /** Path that opens the pod's network namespace. */
  netns: string;
  /** The pod's cgroup; its containers' are its children by name. */
  cgroup: string;
  podIPs: readonly string[];
  /** The sidecar is an init container that keeps running (Kubernetes >= 1.29), or an ordinary container. */
  nativeSidecar?: boolean;
}

const LEAST_PRIVILEGE = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsGroup: SIDECAR_GID,
  runAsNonRoot: true,
  runAsUser: SIDECAR_UID,
};

/** A Pod as Istio's injector leaves it in CNI mode, with the annotations that tell Shunt where it lives. */
export function podManifest(options: ManifestOptions): object {
  const { name, namespace = 'default', nativeSidecar = true } = options;
  const proxy = sidecarContainer(name, options.podIPs.length > 1);
  const native = { ...proxy, restartPolicy: 'Always' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid: options.uid ?? `lab-${namespace}-${name}`,
      labels: {
        app: name,
        'security.istio.io/tlsMode': 'istio',
        'service.istio.io/canonical-name': name,
        'service.istio.io/canonical-revision': 'latest',
      },
      annotations: {
        'istio.io/rev': 'default',
        'kubectl.kubernetes.io/default-container': 'app',
        'prometheus.io/path': '/stats/prometheus',
        'prometheus.io/port': '15020',
        'prometheus.io/scrape': 'true',
        'sidecar.istio.io/interceptionMode': 'REDIRECT',
        'sidecar.istio.io/status': JSON.stringify({
          initContainers: nativeSidecar ? ['istio-validation', SIDECAR_CONTAINER] : ['istio-validation'],
          containers: nativeSidecar ? null : [SIDECAR_CONTAINER],
          volumes: ['istio-envoy', 'istio-data', 'istio-podinfo', 'istio-token', 'istiod-ca-cert'],
          imagePullSecrets: null,
          revision: 'default',
        }),
        'traffic.sidecar.istio.io/excludeInboundPorts': '15020',
        'traffic.sidecar.istio.io/includeInboundPorts': '*',
        'traffic.sidecar.istio.io/includeOutboundIPRanges': '*',
        'shunt.dev/netns': options.netns,
        'shunt.dev/cgroup': options.cgroup,
        ...options.annotations,
      },
    },
    spec: {
      containers: [
        { name: 'app', image: 'app:1.0', ports: [{ containerPort: 8080, name: 'http' }] },
        ...(nativeSidecar ? [] : [proxy]),
      ],
      initContainers: [validationContainer(), ...(nativeSidecar ? [native] : [])],
      restartPolicy: 'Always',
    },
    status: {
      phase: 'Running',
      podIP: options.podIPs[0],
      podIPs: options.podIPs.map((ip) => ({ ip })),
    },
  };
}

export function podYaml(options: ManifestOptions): string {
  return stringify(podManifest(options));
}

function validationContainer(): object {
  const excluded = INBOUND_EXCLUDED.toReversed().join(',');
  return {
    name: 'istio-validation',
    image: 'istio/proxyv2:1.27.0',
    args: [
      ...[
        'istio-iptables',
        '-p',
        String(OUTBOUND_PORT),
        '-z',
        String(INBOUND_PORT),
        '-u',
        String(SIDECAR_UID),
      ],
      ...['-m', 'REDIRECT', '-i', '*', '-x', '', '-b', '*', '-d', excluded],
      ...['--log_output_level=default:info', '--run-validation', '--skip-rule-apply'],
    ],
    securityContext: LEAST_PRIVILEGE,
  };
}

function sidecarContainer(pod: string, dualStack: boolean): object {
  return {
    name: SIDECAR_CONTAINER,
    image: 'istio/proxyv2:1.27.0',
    args: [
      ...['proxy', 'sidecar', '--domain', '$(POD_NAMESPACE).svc.cluster.local'],
      ...[
        '--proxyLogLevel=warning',
        '--proxyComponentLogLevel=misc:error',
        '--log_output_level=default:info',
      ],
    ],
    env: [
      { name: 'PILOT_CERT_PROVIDER', value: 'istiod' },
      { name: 'CA_ADDR', value: 'istiod.istio-system.svc:15012' },
      { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'INSTANCE_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      { name: 'ISTIO_META_INTERCEPTION_MODE', value: 'REDIRECT' },
      { name: 'ISTIO_META_WORKLOAD_NAME', value: pod },
      // Without it Istio captures the first family of the pod alone.
      ...(dualStack ? [{ name: 'ISTIO_DUAL_STACK', value: 'true' }] : []),
    ],
    ports: [{ containerPort: 15090, name: 'http-envoy-prom', protocol: 'TCP' }],
    securityContext: LEAST_PRIVILEGE,
  };
}
