/** Values that between them reach every line of the templates. */
export const VALUES: Record<string, unknown>[] = [
  {},
  { mode: 'cleanup' },
  { cni: { enabled: false }, security: { seLinuxType: '' }, rbac: { create: false } },
  {
    image: { digest: `sha256:${'0'.repeat(64)}` },
    imagePullSecrets: [{ name: 'registry' }],
    agent: { repair: 'delete', cgroup: '/sys/fs/cgroup/kubepods', extraArgs: ['--compile'] },
    settings: { excludeNamespaces: ['kube-system'], istio: { outboundIpv4LoopbackCidr: '127.0.0.1/32' } },
    serviceAccount: { annotations: { a: 'on' } },
    host: { kubeletConfig: '/var/lib/kubelet/config.yaml' },
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'k', operator: 'Exists' }] }],
        },
      },
    },
    podLabels: { team: 'net' },
    podAnnotations: { 'example.com/a': '1' },
    metrics: { expose: true },
    podMonitor: { enabled: true, labels: { release: 'prometheus' } },
    prometheusRule: { enabled: true },
    dashboard: { enabled: true },
    openshift: { enabled: true },
  },
  { serviceAccount: { create: false, name: 'mine' } },
];
