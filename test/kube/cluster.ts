/** A real API server with etcd behind it, on loopback, for as long as the test runs; alone, or for a whole cluster. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { parseAllDocuments } from 'yaml';
import { ShuntError } from '../../src/errors.ts';
import { until } from '../../src/lab/deadline.ts';
import { LabProcess } from '../../src/lab/process.ts';
import { ApiConnection } from '../../src/pod/kubernetes/connection.ts';
import { type Credentials, inClusterCredentials } from '../../src/pod/kubernetes/credentials.ts';
import { selfSigned } from './certificate.ts';

const CACHE = join(import.meta.dirname, '../../.cache/kube');
const MANIFESTS = join(import.meta.dirname, '../../daemonset/manifests');
const ADMIN = 'test:admin';
/** Life of a token of a service account. */
export const TOKEN_SECONDS = 3600;
/** Of the service range that the server is given. */
export const API_SERVICE = '10.96.0.1';

const made = v.object({ metadata: v.object({ name: v.string(), uid: v.string() }) });
const tokenRequest = v.object({ status: v.object({ token: v.string() }) });
const listed = v.object({ items: v.array(v.unknown()) });
const version = v.object({ gitVersion: v.string() });
const applied = v.looseObject({
  kind: v.string(),
  metadata: v.looseObject({ name: v.string(), namespace: v.optional(v.string()) }),
});
const kinds = v.object({ kind: v.string(), metadata: v.looseObject({ namespace: v.optional(v.string()) }) });

/** One line of the audit log. */
export interface Audited {
  user: string;
  verb: string;
  resource: string;
}
const auditLine = v.object({
  verb: v.string(),
  user: v.object({ username: v.string() }),
  objectRef: v.optional(v.object({ resource: v.string() })),
});

type Collection = (namespace: string | undefined) => string;
/** What the agent's service account is and may. */
const RBAC: Record<string, Collection> = {
  ServiceAccount: (namespace) => `/api/v1/namespaces/${namespace}/serviceaccounts`,
  ClusterRole: () => '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: () => '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
};
const OTHERS: Record<string, Collection> = {
  ConfigMap: (namespace) => `/api/v1/namespaces/${namespace}/configmaps`,
  DaemonSet: (namespace) => `/apis/apps/v1/namespaces/${namespace}/daemonsets`,
  Deployment: (namespace) => `/apis/apps/v1/namespaces/${namespace}/deployments`,
  Namespace: () => '/api/v1/namespaces',
};
/** Kinds of others' CRDs, which a server without them does not know. */
const FOREIGN = ['PodMonitor', 'PrometheusRule', 'SecurityContextConstraints'];

interface ManifestObject {
  kind: string;
  namespace: string | undefined;
  object: object;
}

function objectsOf(file: string): ManifestObject[] {
  return parseAllDocuments(readFileSync(join(MANIFESTS, file), 'utf8')).flatMap((document) => {
    const object: unknown = document.toJS();
    if (typeof object !== 'object' || object === null) return [];
    const { kind, metadata } = v.parse(kinds, object);
    return [{ kind, namespace: metadata.namespace, object }];
  });
}

export interface ClusterOptions {
  /** A node that joins: its name and address. The server is then reached at that address, too, and pods get tokens. */
  node?: { name: string; address: string };
}

/** Who a program of the cluster is to the server. */
export type Member = 'admin' | 'node';

export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly binaries: string;
  readonly port: number;
  readonly admin: ApiConnection;
  readonly #node: ClusterOptions['node'];
  readonly #tokens = { admin: randomUUID(), node: randomUUID() };
  readonly #etcdPort: number;
  readonly #signal: AbortSignal;
  #etcd: LabProcess | null = null;
  #apiServer: LabProcess | null = null;

  private constructor(
    folder: string,
    binaries: string,
    ports: readonly [number, number],
    signal: AbortSignal,
    node: ClusterOptions['node'],
  ) {
    this.folder = folder;
    this.binaries = binaries;
    this.#node = node;
    [this.port, this.#etcdPort] = ports;
    this.#signal = signal;
    const account = join(folder, 'admin');
    mkdirSync(account);
    const tls = selfSigned(['127.0.0.1', ...(node === undefined ? [] : [node.address, API_SERVICE])]);
    writeFileSync(join(folder, 'server.key'), tls.key, { mode: 0o600 });
    writeFileSync(join(folder, 'server.crt'), tls.cert);
    writeFileSync(join(account, 'ca.crt'), tls.cert);
    writeFileSync(join(account, 'token'), this.#tokens.admin, { mode: 0o600 });
    const users = [`${this.#tokens.admin},${ADMIN},1,"system:masters"`];
    if (node !== undefined) users.push(`${this.#tokens.node},system:node:${node.name},2,"system:nodes"`);
    writeFileSync(join(folder, 'tokens.csv'), `${users.join('\n')}\n`, { mode: 0o600 });
    writeFileSync(
      join(folder, 'audit.yaml'),
      'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [ResponseStarted, ResponseComplete, Panic]\nrules:\n- level: Metadata\n',
    );
    this.admin = new ApiConnection(this.credentials(account));
  }

  /** @throws SHUNT_E_LAB_TOOL when it was never built */
  static async start(signal: AbortSignal, { node }: ClusterOptions = {}): Promise<Cluster> {
    const [built] = existsSync(CACHE) ? readdirSync(CACHE) : [];
    const binaries = join(CACHE, built ?? '');
    if (built === undefined || !existsSync(join(binaries, 'kube-apiserver'))) {
      throw new ShuntError('SHUNT_E_LAB_TOOL', 'there is no kube-apiserver in .cache/kube', {
        fix: '`npm run test:kube` builds it (10 minutes and more the first time; needs Go and the Go module proxy)',
      });
    }
    const folder = mkdtempSync(join(tmpdir(), 'shunt-cluster-'));
    const cluster = new Cluster(folder, binaries, [await freePort(), await freePort()], signal, node);
    try {
      await cluster.#startEtcd();
      await cluster.startApiServer();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As in a pod, with the token of this folder. */
  credentials(folder: string): Credentials {
    return inClusterCredentials({
      folder,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(this.port) },
    });
  }

  async startApiServer(): Promise<void> {
    const { folder } = this;
    const file = (name: string) => join(folder, name);
    const reach =
      this.#node === undefined
        ? // Pods need no token here, and nobody makes the default accounts.
          [
            '--bind-address=127.0.0.1',
            '--authorization-mode=RBAC',
            '--disable-admission-plugins=ServiceAccount',
          ]
        : [
            '--bind-address=0.0.0.0',
            `--advertise-address=${this.#node.address}`,
            '--authorization-mode=Node,RBAC',
            '--allow-privileged=true',
          ];
    this.#apiServer = await this.#run('kube-apiserver', [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      `--secure-port=${this.port}`,
      ...reach,
      '--service-cluster-ip-range=10.96.0.0/24',
      `--tls-cert-file=${file('server.crt')}`,
      `--tls-private-key-file=${file('server.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${file('server.crt')}`,
      `--service-account-signing-key-file=${file('server.key')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      `--audit-policy-file=${file('audit.yaml')}`,
      `--audit-log-path=${file('audit.log')}`,
    ]);
    // It answers before it has made what it makes itself.
    for (const path of [
      '/apis/rbac.authorization.k8s.io/v1/clusterroles',
      '/api/v1/namespaces/kube-system',
    ]) {
      await until(
        async () => {
          this.#apiServer?.assertRunning();
          return await this.admin.get(path, {}, this.#signal).catch((error: unknown) => {
            if (error instanceof ShuntError) return undefined;
            throw error;
          });
        },
        { what: `kube-apiserver's ${path}`, timeoutMs: 180_000, everyMs: 200 },
      );
    }
  }

  async stopApiServer(): Promise<void> {
    await this.#apiServer?.stop('SIGKILL', 10_000);
    this.#apiServer = null;
  }

  async version(): Promise<string> {
    return v.parse(version, await this.admin.get('/version', {}, this.#signal)).gitVersion;
  }

  /** Writes a kubeconfig for a program of the cluster; returns its path. */
  kubeconfig(member: Member): string {
    const path = join(this.folder, `${member}.kubeconfig`);
    const cluster = {
      server: `https://127.0.0.1:${this.port}`,
      'certificate-authority': join(this.folder, 'server.crt'),
    };
    const config = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'x' },
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: this.#tokens[member] } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
    return path;
  }

  /** Has objects be so (server-side apply), whether they are there or not. */
  async apply(objects: readonly object[]): Promise<void> {
    for (const object of objects) {
      const { kind, metadata } = v.parse(applied, object);
      const collection = { ...RBAC, ...OTHERS }[kind]?.(metadata.namespace);
      assert.ok(collection !== undefined, kind);
      const path = `${collection}/${metadata.name}?fieldManager=test&force=true`;
      await this.#patch(path, object, 'application/apply-patch+yaml');
    }
  }

  /** Makes the service account of the manifests, with exactly what they let it do. */
  async applyRbac(): Promise<void> {
    for (const { kind, namespace, object } of objectsOf('shunt.yaml')) {
      const collection = RBAC[kind]?.(namespace);
      if (collection !== undefined) await this.admin.post(collection, object, this.#signal);
    }
  }

  /** Has the server take every other object of the manifests without keeping it; returns their kinds. */
  async dryRun(): Promise<string[]> {
    const taken: string[] = [];
    for (const file of readdirSync(MANIFESTS)) {
      for (const { kind, namespace, object } of objectsOf(file)) {
        if (RBAC[kind] !== undefined || FOREIGN.includes(kind)) continue;
        const collection = OTHERS[kind]?.(namespace);
        assert.ok(collection !== undefined, `${file}: ${kind}`);
        const parameters = { dryRun: 'All', fieldValidation: 'Strict' };
        await this.admin.post(collection, object, this.#signal, parameters);
        taken.push(kind);
      }
    }
    return taken;
  }

  /** How many objects a collection holds. */
  async kept(collection: string): Promise<number> {
    return v.parse(listed, await this.admin.get(collection, {}, this.#signal)).items.length;
  }

  /** A folder with the token of a service account, as the kubelet mounts it. */
  async serviceAccount(namespace: string, name: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const request = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: TOKEN_SECONDS },
    };
    const { status } = v.parse(tokenRequest, await this.admin.post(path, request, this.#signal));
    const folder = join(
      this.folder,
      createHash('sha256').update(`${namespace}/${name}`).digest('hex').slice(0, 8),
    );
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'token'), status.token, { mode: 0o600 });
    writeFileSync(join(folder, 'ca.crt'), readFileSync(join(this.folder, 'server.crt')));
    return folder;
  }

  async create(collection: string, object: object): Promise<{ name: string; uid: string }> {
    return v.parse(made, await this.admin.post(collection, object, this.#signal)).metadata;
  }

  /** What the scheduler does. */
  async bind(namespace: string, name: string, node: string): Promise<void> {
    const target = { apiVersion: 'v1', kind: 'Node', name: node };
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name }, target };
    await this.admin.post(`/api/v1/namespaces/${namespace}/pods/${name}/binding`, binding, this.#signal);
  }

  /** What a kubelet would report of the pod; a merge patch (RFC 7386). */
  async patchStatus(namespace: string, name: string, status: object): Promise<void> {
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/status`;
    await this.#patch(path, { status }, 'application/merge-patch+json');
  }

  async #patch(path: string, object: object, type: string): Promise<void> {
    using credentials = this.credentials(join(this.folder, 'admin'));
    const { headers, agent } = await credentials.present();
    const body = Buffer.from(JSON.stringify(object));
    const sent = request(new URL(path, credentials.server), {
      method: 'PATCH',
      agent,
      headers: { ...headers, 'content-type': type, 'content-length': body.length },
    });
    const [answer] = (await once(sent.end(body), 'response')) as [IncomingMessage];
    const text = Buffer.concat(await Array.fromAsync<Buffer>(answer)).toString();
    assert.ok(answer.statusCode === 200 || answer.statusCode === 201, text);
  }

  /** What was asked of the server by whom, in order of arrival. */
  audit(user: string): Audited[] {
    return readFileSync(join(this.folder, 'audit.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(JSON.stringify(user)))
      .map((line) => v.parse(v.pipe(v.string(), v.parseJson(), auditLine), line))
      .filter((entry) => entry.user.username === user)
      .map(({ verb, objectRef }) => ({ user, verb, resource: objectRef?.resource ?? '' }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.admin[Symbol.dispose]();
    await this.stopApiServer();
    await this.#etcd?.stop('SIGKILL', 10_000);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #startEtcd(): Promise<void> {
    const client = `http://127.0.0.1:${this.#etcdPort}`;
    const peer = `http://127.0.0.1:${await freePort()}`;
    this.#etcd = await this.#run('etcd', [
      `--data-dir=${join(this.folder, 'etcd')}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      // It is thrown away at the end.
      '--unsafe-no-fsync',
    ]);
  }

  #run(name: string, args: string[]): Promise<LabProcess> {
    const logFile = join(this.folder, `${name}.log`);
    return LabProcess.start(name, [join(this.binaries, name), ...args], { logFile });
  }
}

async function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer();
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
  });
  return promise;
}
