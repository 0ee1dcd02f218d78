/** A node as a kubelet would leave it, without one: pods with a network namespace, container cgroups and processes. */
import { until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { netnsInode } from '../../src/pod/netns.ts';
import { type TestCgroup, type TestNetns, testCgroup, testNetns, testProcess } from '../fixtures/kernel.ts';
import { fixtureObject } from '../fixtures/pod.ts';
import type { StoredObject } from './api_server.ts';

const WAIT = 'console.log("up"); setInterval(() => {}, 1e6)';
export const containerId = (digit: string) => digit.repeat(64);
export const SANDBOX = containerId('a');
export const PROXY = containerId('c');

export class KubeNode implements AsyncDisposable {
  readonly cgroup: TestCgroup;
  readonly #stack = new AsyncDisposableStack();
  readonly #kubepods: TestCgroup;

  constructor(label: string) {
    this.cgroup = this.#stack.use(testCgroup(label));
    this.#kubepods = this.#stack.use(this.cgroup.child('kubepods'));
  }

  /** Starts a pod's sandbox and sidecar container; disposed of, both have ended and its namespace is gone. */
  async start(uid: string, address: string): Promise<StartedPod> {
    await using stack = new AsyncDisposableStack();
    const netns = stack.use(testNetns('kube', [`${address}/24`]));
    const pod = stack.use(this.#kubepods.child(`pod${uid}`));
    for (const id of [SANDBOX, PROXY]) {
      stack.use(await testProcess(WAIT, { netns, cgroup: stack.use(pod.child(id)) }));
    }
    const owned = this.#stack.use(stack.move());
    return { uid, address, netns, end: () => owned.disposeAsync() };
  }

  /** As start(), with a sandbox alone and nothing in it but a process that sleeps. */
  async startSandbox(uid: string, address: string): Promise<StartedPod> {
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
    return { uid, address, netns, end: () => owned.disposeAsync() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

export interface StartedPod {
  uid: string;
  address: string;
  netns: TestNetns;
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
  },
): StoredObject & { spec: Record<string, unknown> } {
  const { metadata, spec } = fixtureObject('istio', 'init-ordinary');
  const { node, name = `web-${uid.slice(-4)}`, address, phase = 'Running' } = options;
  const running = { running: {} };
  const statuses = [
    { name: 'istio-proxy', containerID: `containerd://${PROXY}`, state: running, lastState: {} },
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
