/** HTTP/1.1: servers and proxies of many makes with Node's client, and curl; peer/http.ts says what is asked of them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inPath, reachable } from '../../../src/lab/checkout.ts';
import type { Argv } from '../../../src/lab/command.ts';
import { ENVOY } from '../../../src/lab/envoy.ts';
import { PORT, type Stage, Unavailable } from '../stage.ts';
import { LEFT, type RuntimeCase } from './case.ts';
import { GO, goPeer, JAVA, javaPeer } from './programs.ts';

const CONNECTIONS = 6;
const IDLE_MS = 1_500;
/** Of the server behind a proxy, on the pod's localhost. */
const BEHIND = 7101;

function script(stage: Stage, ...words: string[]): Argv {
  return [stage.bed.node, join(stage.bed.programs, 'http.mts'), ...words];
}

/** The server of peer/http.ts itself, or behind a proxy. */
async function serveNode(stage: Stage, port: number): Promise<void> {
  await stage.serve(script(stage, 'serve', String(port)), { ports: [port] });
}

interface Abilities {
  /** Paths of peer/http.ts that end badly, or answer while they are asked. */
  whole: boolean;
  /** More paths to get. */
  files?: readonly string[];
  /** In place of Node's client: with an address, it answers as peer/http.ts does. */
  client?: Argv;
}

async function ask(stage: Stage, { whole, files = [], client }: Abilities): Promise<void> {
  const to = [stage.address, String(PORT), String(CONNECTIONS)];
  const answer = await stage.dialogue(
    client === undefined ? script(stage, 'call', ...to) : [...client, ...to],
  );
  const step = async (line: string): Promise<void> => stage.note(line, await answer(line));
  await stage.warm('get 30 /give?bytes=300', () => answer('get 30 /give?bytes=300'));
  for (const path of ['/none', '/give?bytes=0', '/give?bytes=20000', '/nowhere', ...files]) {
    await step(`get 60 ${path}`);
  }
  await step('get 4 /give?bytes=2000000');
  await step('post 2000000 /take');
  await step('get 60 /give?bytes=300');
  if (whole) {
    await step('get 1 /give?bytes=500000&pause=30');
    await step('post 2000000 /echo');
    await step('post 100 /echo');
    for (const path of ['/short', '/reset']) {
      // That it fails is right; how, is compared.
      stage.note(path, (await answer(`get 1 ${path}`)).replaceAll('error:', 'ended: '));
    }
  }
  await step('get 30 /give?bytes=300');
  await delay(IDLE_MS);
  await step('get 30 /give?bytes=301');
  await step('close');
}

/** curl's word on every transfer. How many connections it took is left out where it does several at once. */
const EACH = '%{http_code} %{size_download} %{size_upload} %{exitcode}';
/**
 * What a reset may come to, for one and the same fault: whether the reset overtakes the bytes before it, and the
 * request the end of the connection, is a matter of moments, under iptables as well.
 */
const CUT = [52, 56];

/** One curl that does one thing after another, over one connection where it can. */
async function curl(stage: Stage): Promise<void> {
  await serveNode(stage, PORT);
  const of = (path: string): string => `url = "${stage.url(path)}"\noutput = "/dev/null"\n`;
  const configured = (text: string, told: string, ...more: string[]) => {
    const argv: Argv = [
      'curl',
      '--silent',
      '--globoff',
      '--write-out',
      `${told}\\n`,
      ...more,
      '--config',
      '-',
    ];
    return stage.run(argv, text);
  };
  const note = async (what: string, text: string, ...more: string[]): Promise<void> => {
    const { code, stdout } = await configured(text, `${EACH} %{num_connects}`, ...more);
    stage.note(what, `${stdout.trim().replaceAll('\n', ', ')}; exit ${code}`);
  };
  const small = (count: number): string =>
    Array.from({ length: count }, (_, index) => of(`/give?bytes=300&n=${index}`)).join('');
  // The pause is long enough for the connection to be taken up.
  const paused = of('/give?bytes=300000&pause=600');
  await note('one connection', [small(100), paused, small(400), of('/give?bytes=3000000')].join(''));
  const slowly = [small(100), paused, small(50), of('/give?bytes=2000000')].join('');
  await note('one connection, slowly', slowly, '--limit-rate', '2M');
  const atOnce = await configured(small(60), EACH, '--parallel', '--parallel-max', '20');
  stage.note('twenty at once', `${atOnce.stdout.split('\n').sort().join(' ')}; exit ${atOnce.code}`);
  const body = join(stage.folder, 'body');
  writeFileSync(body, Buffer.alloc(3_000_000, 'a body to send\n'), { mode: 0o644 });
  for (const path of ['/take', '/echo']) {
    const argv: Argv = ['curl', '--silent', '--data-binary', `@${body}`, stage.url(path)];
    const { code, stdout } = await stage.run(argv);
    stage.note(`POST ${path} with Expect`, `${stdout}; exit ${code}`);
  }
  const piped: Argv = ['curl', '--silent', '-T', '-', '-X', 'POST', stage.url('/take')];
  const { code, stdout } = await stage.run(piped, 'x'.repeat(1_000_000));
  stage.note('POST from a pipe, chunked', `${stdout.trim()}; exit ${code}`);
  for (const path of ['/short', '/nowhere', '/none']) await note(path, of(path));
  await note('/hang, with a time-out', of('/hang'), '--max-time', '1');
  for (const [what, text] of [
    ['/reset', of('/reset')],
    ['a port where nobody listens', of('/').replace(`:${PORT}`, ':7999')],
  ] as const) {
    const cut = await configured(text, EACH);
    stage.note(what, CUT.includes(cut.code ?? 0) ? 'cut' : `${cut.stdout.trim()}; exit ${cut.code}`);
  }
}

async function haproxy(stage: Stage): Promise<void> {
  await serveNode(stage, BEHIND);
  const file = join(stage.folder, 'haproxy.cfg');
  const text = `global
  nbthread 1
  maxconn 200
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 0
frontend web
  bind 0.0.0.0:${PORT}
  default_backend node
backend node
  http-reuse always
  server node 127.0.0.1:${BEHIND}
`;
  writeFileSync(file, text, { mode: 0o644 });
  await stage.serve([inPath('haproxy') ?? 'haproxy', '-db', '-f', file]);
  await ask(stage, { whole: true });
}

async function envoy(stage: Stage): Promise<void> {
  let program: string;
  try {
    program = reachable(ENVOY.locate(), stage.bed.programs);
  } catch (error) {
    throw new Unavailable('Envoy is not here', { cause: error });
  }
  await serveNode(stage, BEHIND);
  const socket = (address: string, port: number) => ({ socket_address: { address, port_value: port } });
  const typed = (type: string, more: object) => ({
    '@type': `type.googleapis.com/envoy.extensions.${type}`,
    ...more,
  });
  const router = { name: 'router', typed_config: typed('filters.http.router.v3.Router', {}) };
  const route = { match: { prefix: '/' }, route: { cluster: 'node', timeout: '60s' } };
  const manager = typed('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'web',
    http_filters: [router],
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
  });
  const endpoint = { endpoint: { address: socket('127.0.0.1', BEHIND) } };
  const bootstrap = {
    static_resources: {
      listeners: [
        {
          name: 'web',
          address: socket('0.0.0.0', PORT),
          filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }],
        },
      ],
      clusters: [
        {
          name: 'node',
          type: 'STATIC',
          connect_timeout: '5s',
          load_assignment: { cluster_name: 'node', endpoints: [{ lb_endpoints: [endpoint] }] },
        },
      ],
    },
  };
  const file = join(stage.folder, 'envoy.json');
  writeFileSync(file, JSON.stringify(bootstrap), { mode: 0o644 });
  await stage.serve([
    program,
    '--config-path',
    file,
    '--concurrency',
    '1',
    '--log-level',
    'warn',
    '--disable-hot-restart',
  ]);
  await ask(stage, { whole: true });
}

/** Static files by sendfile, what is put there by WebDAV, and Node behind it. */
async function nginx(stage: Stage): Promise<void> {
  await serveNode(stage, BEHIND);
  const file = join(stage.folder, 'nginx.conf');
  const folder = (name: string): string => `${join(stage.folder, name)}`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const text = `daemon off;
worker_processes 1;
pid ${folder('pid')};
error_log stderr;
events { worker_connections 200; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_max_body_size 20m;
  keepalive_requests 100000;
${temporary.map((name) => `  ${name}_temp_path ${folder(name)};`).join('\n')}
  upstream node { server 127.0.0.1:${BEHIND}; keepalive 8; }
  server {
    listen 0.0.0.0:${PORT};
    location /files/ { root ${stage.folder}; dav_methods PUT; dav_access all:rw; create_full_put_path on; }
    location / {
      proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_buffering off;
    }
  }
}
`;
  writeFileSync(file, text, { mode: 0o644 });
  await stage.serve([inPath('nginx') ?? 'nginx', '-c', file, '-e', 'stderr']);
  const body = join(stage.folder, 'body');
  writeFileSync(body, Buffer.alloc(2_500_000, 'a file to put\n'), { mode: 0o644 });
  const put = await stage.run([
    'curl',
    '--silent',
    '-T',
    body,
    '-w',
    '%{http_code}',
    stage.url('/files/big'),
  ]);
  stage.note('PUT /files/big', `${put.stdout}; exit ${put.code}`);
  const small = await stage.run(
    ['curl', '--silent', '-T', '-', '-w', '%{http_code}', stage.url('/files/small')],
    'small',
  );
  stage.note('PUT /files/small', `${small.stdout}; exit ${small.code}`);
  await ask(stage, { whole: true, files: ['/files/small'] });
  const got = await stage.run(['sh', '-c', `curl --silent ${stage.url('/files/big')} | sha256sum`]);
  stage.note('GET /files/big', got.stdout.trim());
}

export const HTTP: readonly RuntimeCase[] = [
  {
    name: 'Node, node:http',
    what: 'server, and client with connections that stay',
    everywhere: false,
    needs: {},
    taken: ['node'],
    left: {},
    async play(stage) {
      await serveNode(stage, PORT);
      await ask(stage, { whole: true });
    },
  },
  {
    name: 'curl',
    what: '502 requests over one connection, twenty at once, uploads with Expect, exit codes; Node serves',
    everywhere: true,
    needs: { curl: 'curl' },
    taken: ['curl', 'node'],
    left: {},
    play: curl,
  },
  {
    name: 'HAProxy',
    what: 'an HTTP proxy in front of Node',
    everywhere: true,
    needs: { haproxy: 'haproxy' },
    taken: ['node'],
    left: { haproxy: LEFT.hangup },
    play: haproxy,
  },
  {
    name: 'Envoy',
    what: 'an HTTP proxy in front of Node; it is also every sidecar here',
    everywhere: true,
    needs: {},
    taken: ['node'],
    left: { envoy: LEFT.edge },
    play: envoy,
  },
  {
    name: 'nginx',
    what: 'files by sendfile, WebDAV PUT, and a proxy in front of Node',
    everywhere: false,
    needs: { nginx: 'nginx-light' },
    taken: ['node'],
    left: { nginx: LEFT.edge },
    play: nginx,
  },
  {
    name: 'Go, net/http',
    what: 'server; Node asks',
    everywhere: false,
    taken: ['node'],
    left: { 'go-peer': LEFT.edge },
    ...GO,
    async play(stage) {
      await stage.serve(goPeer(stage, 'http', String(PORT)));
      await ask(stage, { whole: false });
    },
  },
  {
    name: 'Java, com.sun.net.httpserver',
    what: 'server, whose channels block while they serve; Node asks',
    everywhere: false,
    taken: ['java', 'node'],
    left: {},
    ...JAVA,
    async play(stage) {
      await stage.serve(javaPeer(stage, 'http', String(PORT)));
      await ask(stage, { whole: false });
    },
  },
  {
    name: 'Java, java.net.http',
    what: 'client; Node serves',
    everywhere: false,
    taken: ['java', 'node'],
    left: {},
    ...JAVA,
    async play(stage) {
      await serveNode(stage, PORT);
      await ask(stage, { whole: false, client: javaPeer(stage, 'ask') });
    },
  },
];
