/** Where the agent's pods come from: manifests on disk, or the Kubernetes API server. */
import { namespaceMatters } from '../mesh/recognise.ts';
import { type Snapshot, watchPodFiles } from '../pod/files.ts';
import { PodFinder } from '../pod/finder.ts';
import { ApiConnection } from '../pod/kubernetes/connection.ts';
import { inClusterCredentials, kubeconfigCredentials } from '../pod/kubernetes/credentials.ts';
import { KubernetesSource } from '../pod/kubernetes/source.ts';
import { BY_ANNOTATION, type Locator } from '../pod/locate.ts';
import type { PodObject } from '../pod/workload.ts';

export type PodSourceOptions =
  | { kind: 'files'; path: string }
  | {
      kind: 'kubernetes';
      /** A kubeconfig file; null for the service account of the agent's pod. */
      kubeconfig: string | null;
      /** As the cluster knows this node. */
      nodeName: string;
    };

export interface PodSource extends Disposable {
  kind: PodSourceOptions['kind'];
  /** For people: a path, or the address of the server and the node. */
  label: string;
  locator: Locator;
  snapshots: AsyncGenerator<Snapshot, void, void>;
  /** The API server's; null without one. */
  connection: ApiConnection | null;
}

/**
 * Opens the source; nothing is read before the first snapshot is asked for.
 *
 * @throws SHUNT_E_KUBE_CONFIG
 */
export async function openPodSource(options: PodSourceOptions, signal: AbortSignal): Promise<PodSource> {
  if (options.kind === 'files') {
    return {
      kind: 'files',
      label: options.path,
      locator: BY_ANNOTATION,
      snapshots: watchPodFiles(options.path, { signal }),
      connection: null,
      [Symbol.dispose]: () => {},
    };
  }
  const { kubeconfig, nodeName } = options;
  const credentials = kubeconfig === null ? inClusterCredentials() : await kubeconfigCredentials(kubeconfig);
  const connection = new ApiConnection(credentials);
  const finder = new PodFinder();
  const isRunning = (pod: PodObject): boolean => {
    finder.expire();
    return !pod.spec.hostNetwork && finder.isRunning(pod);
  };
  const source = new KubernetesSource({
    connection,
    nodeName,
    signal,
    isRunning,
    needsNamespace: namespaceMatters,
  });
  return {
    kind: 'kubernetes',
    label: `${connection.server} (node ${nodeName})`,
    locator: { locate: (pod, sidecar) => finder.locate(pod, sidecar), expire: () => finder.expire() },
    snapshots: source.snapshots(),
    connection,
    [Symbol.dispose]: () => connection[Symbol.dispose](),
  };
}
