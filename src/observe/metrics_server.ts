/** /metrics and the probes over plain HTTP, for Prometheus and the kubelet. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ShuntError } from '../errors.ts';
import type { Health } from './health.ts';
import type { Metrics } from './metrics.ts';

export interface ListenAddress {
  /** An IP address, or a name that resolves to one; empty for every address. */
  host: string;
  /** 0 = any that is free. */
  port: number;
}

/** A scraper or a probe asks one thing at a time; past this a leak in one must not eat the agent's descriptors. */
const MAX_CONNECTIONS = 32;
const REQUEST_DEADLINE_MS = 5_000;

const PROBES = { '/livez': 'livez', '/readyz': 'readyz', '/startupz': 'startupz' } as const;

/**
 * `HOST:PORT`, IPv6 in brackets, or `:PORT` for every address of the host.
 *
 * @throws SHUNT_E_USAGE
 */
export function parseListenAddress(text: string): ListenAddress {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  if (found === null || port > 65535) {
    throw new ShuntError('SHUNT_E_USAGE', `--metrics ${text} is not HOST:PORT`, {
      fix: 'give an address and a port such as 127.0.0.1:15090, [::1]:15090, or :15090 for every address',
    });
  }
  return { host: found[1] ?? found[2] ?? '', port };
}

/**
 * Listens until disposed.
 *
 * @param metrics null while there is nothing to read yet
 * @param onError told of a scrape that failed
 * @throws SHUNT_E_METRICS_LISTEN when the address is taken or not this host's
 */
export async function serveMetrics(
  address: ListenAddress,
  health: Health,
  metrics: () => Metrics | null,
  onError: (error: unknown) => void,
): Promise<AsyncDisposable & { readonly address: string }> {
  const server = createServer(
    {
      maxHeaderSize: 8 * 1024,
      headersTimeout: REQUEST_DEADLINE_MS,
      requestTimeout: REQUEST_DEADLINE_MS,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      const path = (request.url ?? '').split('?', 1)[0] ?? '';
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.setHeader('allow', 'GET, HEAD');
        return answer(response, 405, 'only GET and HEAD are answered');
      }
      if (Object.hasOwn(PROBES, path)) {
        const fault = health.fault(PROBES[path as keyof typeof PROBES]);
        return answer(response, fault === null ? 200 : 503, fault ?? 'ok');
      }
      if (path !== '/metrics')
        return answer(response, 404, 'here are /metrics, /livez, /readyz and /startupz');
      const source = metrics();
      if (source === null) return answer(response, 503, 'the agent is starting');
      source.text().then(
        (text) => answer(response, 200, text, source.contentType),
        (error) => {
          onError(error);
          answer(response, 500, 'the metrics cannot be read; the log of the agent says why');
        },
      );
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  await listening(server, address);
  const bound = server.address() as AddressInfo;
  return {
    address: bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  const body = text.endsWith('\n') ? text : `${text}\n`;
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function listening(server: ReturnType<typeof createServer>, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === 'EADDRINUSE'
          ? 'something else listens there'
          : cause.code === 'EADDRNOTAVAIL' || cause.code === 'ENOTFOUND'
            ? 'it is not an address of this host'
            : cause.message;
      reject(new ShuntError('SHUNT_E_METRICS_LISTEN', why, { target: `${host}:${port}`, cause }));
    });
    server.listen({ port, ...(host === '' ? {} : { host }) }, resolve);
  });
}
