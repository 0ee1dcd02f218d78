/** The agent against a real API server, on a node of its own, with the token of its service account in a kubeconfig. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodReport } from '../../src/agent/api.ts';
import { AgentClient } from '../../src/agent/client.ts';
import { ShuntError } from '../../src/errors.ts';
import { attempt } from '../../src/lab/command.ts';
import { until } from '../../src/lab/deadline.ts';
import { residentBytes } from '../../src/lab/load.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { pinFolder } from '../fixtures/bpffs.ts';
import { CLI } from '../fixtures/cli.ts';
import { metricsAddress, scrape } from '../fixtures/scrape.ts';
import type { Cluster } from './cluster.ts';
import { KubeNode } from './node.ts';

export interface KubeAgentOptions {
  cluster: Cluster;
  /** With token and ca.crt, as the kubelet mounts it. */
  account: string;
  /** The node is called `node-<label>`. */
  label: string;
}

export class KubeAgent implements AsyncDisposable {
  readonly nodeName: string;
  readonly node: KubeNode;
  readonly client: AgentClient;
  readonly process: LabProcess;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    nodeName: string,
    parts: { node: KubeNode; client: AgentClient; process: LabProcess },
    stack: AsyncDisposableStack,
  ) {
    this.nodeName = nodeName;
    this.node = parts.node;
    this.client = parts.client;
    this.process = parts.process;
    this.#stack = stack;
  }

  /** Starts it, and waits until it answers. */
  static async start({ cluster, account, label }: KubeAgentOptions): Promise<KubeAgent> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.adopt(mkdtempSync(join(tmpdir(), 'shunt-kube-')), (path) =>
      rmSync(path, { recursive: true, force: true }),
    );
    const bpffs = stack.use(pinFolder(`shunt-${label}${process.pid}`));
    const node = stack.use(new KubeNode(label));
    const kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, JSON.stringify(configOf(cluster, account)));
    const socket = join(folder, 'agent.sock');
    const client = new AgentClient(socket);
    const nodeName = `node-${label}`;
    const pins = ['--bpffs', bpffs.path, '--socket', socket];
    const source = ['--kubeconfig', kubeconfig, '--node-name', nodeName, '--cgroup', node.cgroup.path];
    const agent = await LabProcess.start(
      'agent',
      [...CLI, 'agent', ...source, ...pins, '--metrics', '127.0.0.1:0'],
      { logFile: join(folder, 'agent.log') },
    );
    stack.defer(async () => {
      await agent.stop('SIGKILL', 10_000);
      await attempt([...CLI, 'cleanup', ...pins]);
    });
    await until(
      async () => {
        agent.assertRunning();
        return client.status().catch((error: unknown) => {
          if (error instanceof ShuntError && error.code === 'SHUNT_E_AGENT_DOWN') return undefined;
          throw error;
        });
      },
      { what: 'the agent', timeoutMs: 60_000 },
    );
    return new KubeAgent(nodeName, { node, client, process: agent }, stack.move());
  }

  /** What it has logged so far. */
  get log(): string {
    return readFileSync(this.process.logFile, 'utf8');
  }

  /** Of its process. @return bytes */
  get memory(): number {
    return residentBytes(this.process.pid);
  }

  /** CPU time of its process so far, ms. Unlike what a clock says, it does not grow with what else the machine does. */
  async cpuMs(): Promise<number> {
    const seconds = (await scrape(metricsAddress(this.log))).get('process_cpu_seconds_total');
    return (seconds ?? Number.NaN) * 1000;
  }

  /** Waits until it reports its pods so. */
  async settled(what: string, seen: (pods: PodReport[]) => boolean, timeoutMs = 60_000): Promise<void> {
    const look = async () => ((await this.client.pods().then(seen)) ? true : undefined);
    await until(look, { what, timeoutMs, everyMs: 50 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function configOf(cluster: Cluster, account: string): object {
  const server = `https://127.0.0.1:${cluster.port}`;
  return {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'x' },
    clusters: [{ name: 'c', cluster: { server, 'certificate-authority': join(account, 'ca.crt') } }],
    users: [{ name: 'u', user: { tokenFile: join(account, 'token') } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
  };
}
