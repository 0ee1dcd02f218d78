/** A node as a kubelet would leave it, without one: pods with a network namespace, container cgroups and processes. */

import * as v from 'valibot';
import { until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { netnsInode } from '../../src/pod/netns.ts';
import {
  type TestCgroup,
  type TestNetns,
  type TestProcess,
  testCgroup,
  testNetns,
  testProcess,
} from '../fixtures/kernel.ts';
import { fixtureObject } from '../fixtures/pod.ts';
import type { StoredObject } from './api_server.ts';

const WAIT = 'console.log("up"); setInterval(() => {}, 1e6)';
export const containerId = (digit: string) => digit.repeat(64);
export const SANDBOX = containerId('a');
export const APP = containerId('b');
export const PROXY = containerId('c');
/** As a container of the sidecar that is made anew. */
export const PROXY_AGAIN = containerId('d');

export class KubeNode implements AsyncDisposable {
  readonly cgroup: TestCgroup;
  readonly #stack = new AsyncDisposableStack();
  readonly #kubepods: TestCgroup;

  constructor(label: string) {
    this.cgroup = this.#stack.use(testCgroup(label));
    this.#kubepods = this.#stack.use(this.cgroup.child('kubepods'));
  }

  /**
   * Starts a pod's sandbox and sidecar container; disposed of, both have ended and its namespace is gone.
   *
   * @param sidecar program of the sidecar, as testProcess() takes it
   */
  async start(uid: string, address: string, sidecar = WAIT): Promise<StartedPod> {
    await using stack = new AsyncDisposableStack();
    const netns = stack.use(testNetns('kube', [`${address}/24`]));
    const pod = stack.use(this.#kubepods.child(`pod${uid}`));
    const containers = new Map<string, AsyncDisposableStack>();
    const run = async (container: string, program = WAIT): Promise<TestProcess> => {
      const own = new AsyncDisposableStack();
      const cgroup = own.use(pod.child(container));
      containers.set(container, own);
      return own.use(await testProcess(program, { netns, cgroup }));
    };
    stack.defer(async () => {
      for (const own of containers.values()) await own.disposeAsync();
    });
    await run(SANDBOX);
    await run(PROXY, sidecar);
    const owned = this.#stack.use(stack.move());
    return {
      ...{ uid, address, netns, run },
      endContainer: async (container) => await containers.get(container)?.disposeAsync(),
      end: () => owned.disposeAsync(),
    };
  }

  /** As start(), with a sandbox alone and nothing in it but a process that sleeps. */
  async startSandbox(uid: string, address: string): Promise<Pick<StartedPod, 'netns' | 'end'>> {
    await using stack = new AsyncDisposableStack();
    const netns = stack.use(testNetns('kube', [`${address}/24`]));
    const pod = stack.use(this.#kubepods.child(`pod${uid}`));
    const cgroup = stack.use(pod.child(SANDBOX));
    const place = { netns: netns.path, cgroup: cgroup.path };
    const process = stack.use(
      await LabProcess.start('sandbox', ['sleep', '86400'], { place, logFile: '/dev/null' }),
    );
    const inode = netnsInode(netns.path);
    // It enters the namespace on its way.
    await until(() => (netnsInode(`/proc/${process.pid}/ns/net`) === inode ? true : undefined), {
      what: 'the sandbox',
      everyMs: 2,
    });
    const owned = this.#stack.use(stack.move());
    return { netns, end: () => owned.disposeAsync() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

export interface StartedPod {
  uid: string;
  address: string;
  netns: TestNetns;
  /** Starts another container; it ends with the pod. */
  run(container: string, program?: string): Promise<TestProcess>;
  /** Ends a container, whose cgroup then goes. */
  endContainer(container: string): Promise<void>;
  end(): Promise<void>;
}

/** A pod with Istio's sidecar and init container, as an API server has it. */
export function meshPod(
  uid: string,
  options: {
    node: string;
    name?: string;
    address?: string;
    phase?: string;
    spec?: object;
    metadata?: object;
    /** Id of the sidecar's container. */
    sidecar?: string;
  },
): StoredObject & { spec: Record<string, unknown> } {
  const { metadata, spec } = fixtureObject('istio', 'init-ordinary');
  const { node, name = `web-${uid.slice(-4)}`, address, phase = 'Running', sidecar = PROXY } = options;
  const running = { running: {} };
  const statuses = [
    { name: 'istio-proxy', containerID: `containerd://${sidecar}`, state: running, lastState: {} },
  ];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, uid, name, namespace: 'shop', ...options.metadata },
    spec: { ...spec, nodeName: node, ...options.spec },
    status: {
      phase,
      ...(address === undefined
        ? {}
        : { podIP: address, podIPs: [{ ip: address }], containerStatuses: statuses }),
    },
  };
}

/** meshPod() as a kube-apiserver takes it: without the fields that only it sets. */
export function newPod(name: string, node?: string, more: Record<string, string> = {}): object {
  const { nodeName: _, ...spec } = meshPod('', { node: '', name }).spec;
  const bare = v
    .parse(v.array(v.looseObject({})), spec.containers)
    .map((each) => ({ ...each, volumeMounts: [] }));
  const init = v
    .parse(v.array(v.looseObject({})), spec.initContainers)
    .map((each) => ({ ...each, volumeMounts: [] }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: podMetadata(name, more),
    spec: {
      ...spec,
      ...(node === undefined ? {} : { nodeName: node }),
      volumes: [],
      containers: bare,
      initContainers: init,
    },
  };
}

function podMetadata(name: string, more: Record<string, string>): object {
  const { annotations, labels } = meshPod('', { node: '', name }).metadata;
  return {
    name,
    namespace: 'shop',
    annotations: { ...v.parse(v.record(v.string(), v.string()), annotations), ...more },
    labels,
  };
}
