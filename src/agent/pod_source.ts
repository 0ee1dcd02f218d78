/** Where the agent's pods come from: manifests on disk, or the Kubernetes API server. */
import type { Logger } from 'pino';
import { namespaceMatters } from '../mesh/recognise.ts';
import { type Snapshot, watchPodFiles } from '../pod/files.ts';
import { PodFinder } from '../pod/finder.ts';
import { ApiConnection } from '../pod/kubernetes/connection.ts';
import { inClusterCredentials, kubeconfigCredentials } from '../pod/kubernetes/credentials.ts';
import { KubernetesSource, type Watch } from '../pod/kubernetes/source.ts';
import { BY_ANNOTATION, type Locator } from '../pod/locate.ts';
import type { PodObject } from '../pod/workload.ts';
import { AnnotationEvents } from './annotation_events.ts';
import { Repairer, type RepairMode } from './repairer.ts';

export type PodSourceOptions =
  | { kind: 'files'; path: string }
  | {
      kind: 'kubernetes';
      /** A kubeconfig file; null for the service account of the agent's pod. */
      kubeconfig: string | null;
      /** As the cluster knows this node. */
      nodeName: string;
      repair: RepairMode;
    };

export interface PodSource extends Disposable {
  kind: PodSourceOptions['kind'];
  /** For people: a path, or the address of the server and the node. */
  label: string;
  locator: Locator;
  snapshots: AsyncGenerator<Snapshot, void, void>;
  /** What is watched at the API server, for metrics; of files nothing. */
  watches(): readonly Watch[];
  /** Tells of annotations that were not taken; null where there is no server to tell. */
  annotationEvents: AnnotationEvents | null;
  /** Looks after pods that came up before they were enrolled; null where there is no server to tell. */
  repairer: Repairer | null;
}

/**
 * Opens the source; nothing is read before the first snapshot is asked for.
 *
 * @throws SHUNT_E_KUBE_CONFIG
 */
export async function openPodSource(
  options: PodSourceOptions,
  log: Logger,
  signal: AbortSignal,
): Promise<PodSource> {
  if (options.kind === 'files') {
    return {
      kind: 'files',
      label: options.path,
      locator: BY_ANNOTATION,
      snapshots: watchPodFiles(options.path, { signal }),
      watches: () => [],
      annotationEvents: null,
      repairer: null,
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
    locator: {
      locate: (pod, sidecar) => finder.locate(pod, sidecar),
      expire: () => finder.expire(),
      directories: (pod) => finder.directories(pod),
    },
    snapshots: source.snapshots(),
    watches: () => source.watches,
    annotationEvents: new AnnotationEvents({ connection, nodeName, log }),
    repairer: new Repairer({ connection, nodeName, mode: options.repair, log }),
    [Symbol.dispose]: () => connection[Symbol.dispose](),
  };
}
