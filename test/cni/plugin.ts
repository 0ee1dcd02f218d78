/** The built CNI plugin, run as a container runtime runs it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export const PLUGIN = fileURLToPath(new URL('../../dist/shunt-cni', import.meta.url));

export interface PluginRun {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Result of the primary plugin, with a number that JavaScript would round. */
export const PREV_RESULT =
  '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"address":"10.9.0.2/24","interface":0}],"dns":{},"big":12345678901234567890}';

/** A network configuration as the runtime writes it for one plugin of a chain. */
export function netconf(fields: Record<string, unknown>, prevResult: string | null = PREV_RESULT): string {
  const plain = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'shunt-cni', ...fields });
  return prevResult === null ? plain : `${plain.slice(0, -1)},"prevResult":${prevResult}}`;
}

/** CNI_ARGS as containerd writes them. */
export function podArgs(namespace: string, name: string, uid: string): string {
  return `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=${uid}`;
}

export interface CallEnvironment {
  containerId?: string;
  netns?: string;
  ifname?: string;
  args?: string;
}

/** @param stdin whole network configuration */
export async function runPlugin(command: string, env: CallEnvironment, stdin: string): Promise<PluginRun> {
  const child = spawnPlugin(command, env);
  // A plugin that refuses early does not read to the end.
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { code, stdout, stderr };
}

/** Starts it and writes nothing. */
export function spawnPlugin(command: string, env: CallEnvironment) {
  const { containerId = 'c1', netns = '/run/netns/x', ifname = 'eth0', args } = env;
  return spawn(PLUGIN, [], {
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      CNI_IFNAME: ifname,
      CNI_PATH: '/opt/cni/bin',
      PATH: '/usr/bin',
      ...(args === undefined ? {} : { CNI_ARGS: args }),
    },
  });
}
