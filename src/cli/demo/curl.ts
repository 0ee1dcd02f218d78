import * as v from 'valibot';
import { ClientError, type Target } from '../../lab/client.ts';
import { endpoint } from '../../lab/endpoint.ts';
import type { Host } from '../../lab/host.ts';
import type { Seen } from './connection_row.ts';

const OUTPUT = v.object({
  who: v.object({ name: v.string(), peer: v.string(), local: v.string() }),
  local_ip: v.string(),
  local_port: v.number(),
  remote_ip: v.string(),
  remote_port: v.number(),
  size_request: v.number(),
  size_download: v.number(),
});

/** Exit codes of curl(1) that mean a broken connection, as errno names. */
const CURL_ERRORS: Record<number, string> = {
  7: 'ECONNREFUSED',
  28: 'ETIMEDOUT',
  52: 'closed',
  56: 'ECONNRESET',
};

/**
 * Asks a host's application who it is with curl, over HTTP, as the application of another host.
 *
 * @throws ClientError with the errno name
 */
export async function curlWho(from: Host, { host, port }: Target): Promise<Seen> {
  const url = `http://${endpoint(host, port)}/`;
  const format = ',%{json}';
  const argv = [
    'curl',
    '--silent',
    '--show-error',
    '--max-time',
    '5',
    '--noproxy',
    '*',
    '--write-out',
    format,
    url,
  ] as const;
  const { code, stdout, stderr } = await from.attempt('app', argv);
  if (code !== 0) throw new ClientError(CURL_ERRORS[code ?? -1] ?? `curl: ${stderr.trim()}`);
  const cut = stdout.indexOf('\n,');
  const report: unknown = JSON.parse(stdout.slice(cut + 2));
  const who: unknown = JSON.parse(stdout.slice(0, cut));
  const seen = v.parse(OUTPUT, { ...(report as object), who });
  return {
    local: endpoint(seen.local_ip, seen.local_port),
    remote: endpoint(seen.remote_ip, seen.remote_port),
    who: seen.who,
    sentBytes: seen.size_request + seen.size_download,
  };
}
