/** A Deployment whose pods are as Istio's injector leaves them, with Envoy. */
import { readdirSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { APP_ID } from '../../src/lab/host.ts';
import { SIDECAR_CONTAINER } from '../../src/lab/istio.ts';
import { podManifest } from '../../src/lab/manifest.ts';
import { SIDECARS } from '../../src/lab/sidecar.ts';
import { IMAGE } from '../cni/drivers/containerd.ts';

export const NAMESPACE = 'shop';
const { envoy: ENVOY } = SIDECARS;
const FILES = { configFile: '/sidecar/envoy.json', accessLogFile: '/dev/stdout', ip6: false };
const LIBRARIES = readdirSync('/').filter((name) => /^lib(64)?$/.test(name));

const Injected = v.object({
  metadata: v.object({
    labels: v.record(v.string(), v.string()),
    annotations: v.record(v.string(), v.string()),
  }),
  spec: v.object({ initContainers: v.array(v.looseObject({ name: v.string() })) }),
});

/** The namespace, and the sidecars' configuration in it. */
export function shop(): object[] {
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'sidecar', namespace: NAMESPACE },
      data: { 'envoy.json': ENVOY.config(FILES) },
    },
  ];
}

/** @param args of the probe that is the application: test/cni/drivers/probe.c */
export function deployment(name: string, replicas: number, args: readonly string[]): object {
  const { metadata, spec } = v.parse(
    Injected,
    podManifest({ name, namespace: NAMESPACE, netns: '', cgroup: '', podIPs: [] }),
  );
  const { 'shunt.dev/netns': _, 'shunt.dev/cgroup': __, ...annotations } = metadata.annotations;
  const labels = { ...metadata.labels, app: name };
  const libraries = LIBRARIES.map((library) => ({ name: library, mountPath: `/${library}`, readOnly: true }));
  const [, ...envoy] = ENVOY.argv('', FILES);
  const containers: Record<string, object> = {
    // Its own program needs iptables: here it only has its place in the order.
    'istio-validation': { args: ['connect', '127.0.0.1', '1'] },
    [SIDECAR_CONTAINER]: {
      command: ['/envoy/envoy'],
      args: envoy,
      volumeMounts: [
        ...libraries,
        { name: 'envoy', mountPath: '/envoy', readOnly: true },
        { name: 'sidecar', mountPath: '/sidecar', readOnly: true },
      ],
    },
  };
  return {
    ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, namespace: NAMESPACE } },
    spec: {
      ...{ replicas, selector: { matchLabels: { app: name } } },
      template: {
        metadata: { labels, annotations },
        spec: {
          ...{ automountServiceAccountToken: false, terminationGracePeriodSeconds: 1 },
          initContainers: spec.initContainers.map((container) => ({
            ...container,
            image: IMAGE,
            ...containers[container.name],
          })),
          containers: [{ name: 'app', image: IMAGE, args, securityContext: { runAsUser: APP_ID } }],
          volumes: [
            ...LIBRARIES.map((library) => ({
              name: library,
              hostPath: { path: realpathSync(`/${library}`) },
            })),
            { name: 'envoy', hostPath: { path: dirname(realpathSync(ENVOY.locate())) } },
            { name: 'sidecar', configMap: { name: 'sidecar' } },
          ],
        },
      },
    },
  };
}
