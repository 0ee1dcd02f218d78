/**
 * Where the API server is and what it is shown. A pod's service account is read here: two files and two variables.
 * A kubeconfig is read by @kubernetes/client-node, which knows exec plugins, OIDC and proxies; loading it costs 40 to
 * 90 MB of memory, so that it is loaded only where it is needed, which is outside a cluster.
 */
import { readFileSync, statSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { isIPv6 } from 'node:net';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { parse as parseYaml } from 'yaml';
import { ShuntError } from '../../errors.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Shorter than the idle timeouts of load balancers. */
const KEEP_ALIVE_MS = 30_000;

/** What one request is sent with. */
export interface Presented {
  headers: Record<string, string>;
  agent: http.Agent;
}

export interface Credentials extends Disposable {
  readonly server: URL;
  /**
   * As they stand in the files now: a rotated token is taken with the next request.
   *
   * @throws SHUNT_E_KUBE_CONFIG when they cannot be read
   */
  present(): Promise<Presented>;
  /** The server did not accept them: nothing that was kept is used again. */
  refused(): void;
}

/**
 * The service account of the pod that the agent runs in.
 *
 * @param options.folder where the kubelet puts token and CA
 * @throws SHUNT_E_KUBE_CONFIG when this is no pod
 */
export function inClusterCredentials(
  options: { folder?: string; env?: Readonly<Record<string, string | undefined>> } = {},
): Credentials {
  const { folder = SERVICE_ACCOUNT, env = process.env } = options;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  if (!host || !port) {
    const detail = 'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod';
    throw new ShuntError('SHUNT_E_KUBE_CONFIG', detail);
  }
  return new ServiceAccount(new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`), folder);
}

class ServiceAccount implements Credentials {
  readonly server: URL;
  readonly #folder: string;
  #agent: https.Agent | null = null;
  #ca = '';

  constructor(server: URL, folder: string) {
    this.server = server;
    this.#folder = folder;
  }

  async present(): Promise<Presented> {
    const token = readText(`${this.#folder}/token`).trim();
    const ca = readText(`${this.#folder}/ca.crt`);
    if (this.#agent === null || ca !== this.#ca) {
      closeIdle(this.#agent);
      this.#agent = new https.Agent({ ca, keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS });
      this.#ca = ca;
    }
    return { headers: { authorization: `Bearer ${token}` }, agent: this.#agent };
  }

  refused(): void {
    // Both files are read for each request.
  }

  [Symbol.dispose](): void {
    this.#agent?.destroy();
  }
}

interface Kubeconfig {
  config: import('@kubernetes/client-node/dist/config.js').KubeConfig;
  /** users[].user.tokenFile of the current user, which the library passes over. */
  tokenFile: string | null;
}

const withUsers = v.object({
  users: v.nullish(
    v.array(v.object({ name: v.string(), user: v.nullish(v.object({ tokenFile: v.nullish(v.string()) })) })),
    [],
  ),
});

/**
 * The current context of a kubeconfig file.
 *
 * @throws SHUNT_E_KUBE_CONFIG when the file cannot be read, or names no cluster
 */
export async function kubeconfigCredentials(file: string): Promise<Credentials> {
  const { KubeConfig } = await import('@kubernetes/client-node/dist/config.js');
  const load = (): Kubeconfig => {
    const config = new KubeConfig();
    try {
      const text = readFileSync(file, 'utf8');
      config.loadFromString(text);
      config.makePathsAbsolute(dirname(resolve(file)));
      const { users } = v.parse(withUsers, parseYaml(text));
      const current = config.getCurrentUser()?.name;
      const path = users.find(({ name }) => name === current)?.user?.tokenFile;
      return { config, tokenFile: path ? resolve(dirname(file), path) : null };
    } catch (cause) {
      throw new ShuntError('SHUNT_E_KUBE_CONFIG', `cannot be read: ${textOf(cause)}`, {
        target: file,
        cause,
      });
    }
  };
  const { config } = load();
  const server = config.getCurrentCluster()?.server;
  if (server === undefined || !URL.canParse(server)) {
    const detail = `its current context ${JSON.stringify(config.getCurrentContext())} names no cluster with a server`;
    throw new ShuntError('SHUNT_E_KUBE_CONFIG', detail, { target: file });
  }
  return new KubeconfigFile(new URL(server), file, load);
}

class KubeconfigFile implements Credentials {
  readonly server: URL;
  readonly #file: string;
  readonly #load: () => Kubeconfig;
  #kubeconfig: Kubeconfig | null = null;
  #changedAtMs = 0;
  #agent: http.Agent | null = null;

  constructor(server: URL, file: string, load: () => Kubeconfig) {
    this.server = server;
    this.#file = file;
    this.#load = load;
  }

  async present(): Promise<Presented> {
    const changedAtMs = statSync(this.#file, { throwIfNoEntry: false })?.mtimeMs;
    // While the file is gone or being replaced, what it said last is still the best guess.
    if (this.#kubeconfig !== null && changedAtMs !== undefined && changedAtMs !== this.#changedAtMs)
      this.refused();
    this.#kubeconfig ??= this.#load();
    const { config, tokenFile } = this.#kubeconfig;
    this.#changedAtMs = changedAtMs ?? 0;
    const options: https.RequestOptions = {};
    try {
      await config.applyToHTTPSOptions(options);
    } catch (cause) {
      throw new ShuntError('SHUNT_E_KUBE_CONFIG', textOf(cause), { target: this.#file, cause });
    }
    const agent = options.agent;
    if (!(agent instanceof http.Agent)) {
      throw new ShuntError('SHUNT_E_KUBE_CONFIG', 'its proxy cannot be used', { target: this.#file });
    }
    // Made without keep-alive; the client's cache gives the same one until the credentials are read anew.
    if (agent !== this.#agent) Object.assign(agent, { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS });
    this.#agent = agent;
    const headers = Object.entries({ ...options.headers }).map(([name, value]) => [name, String(value)]);
    const basic = options.auth
      ? { authorization: `Basic ${Buffer.from(options.auth).toString('base64')}` }
      : {};
    const bearer = tokenFile === null ? {} : { authorization: `Bearer ${readText(tokenFile).trim()}` };
    return { headers: { ...basic, ...Object.fromEntries(headers), ...bearer }, agent };
  }

  refused(): void {
    this.#kubeconfig = null;
    closeIdle(this.#agent);
    this.#agent = null;
  }

  [Symbol.dispose](): void {
    this.#agent?.destroy();
  }
}

/** What is under way on the agent, a watch perhaps, goes on to its end. */
function closeIdle(agent: http.Agent | null): void {
  for (const sockets of Object.values(agent?.freeSockets ?? {})) {
    for (const socket of sockets ?? []) socket.destroy();
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new ShuntError('SHUNT_E_KUBE_CONFIG', `cannot be read: ${textOf(cause)}`, { target: file, cause });
  }
}

function textOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
