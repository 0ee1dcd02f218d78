import * as v from 'valibot';
import type { AccessRecord } from './access_log.ts';
import { inPath } from './checkout.ts';
import { toolMissing } from './command.ts';
import { endpoint } from './endpoint.ts';
import { INBOUND_PORT, OUTBOUND_PORT, PASSTHROUGH } from './istio.ts';
import type { SidecarFiles, SidecarProgram } from './sidecar.ts';

/*
 * HAProxy with the same duties. It asks for SO_ORIGINAL_DST by itself when it wants the destination of an accepted
 * connection, and a server of 0.0.0.0:0 is "connect to that destination", of either family. A source address has
 * a family, so inbound has a backend for each. It asks for IPv4 only (seen with 2.6); original_dst6.c helps it out.
 */

const ENTRY = v.object({
  direction: v.picklist(['outbound', 'inbound']),
  peer: v.string(),
  peer_port: v.number(),
  dst: v.string(),
  dst_port: v.number(),
  upstream: v.string(),
  upstream_port: v.string(),
  source: v.string(),
  source_port: v.string(),
  received: v.number(),
  sent: v.number(),
  flags: v.string(),
});

function logFormat(direction: string): string {
  const fields = [
    `"direction":"${direction}"`,
    '"peer":"%ci"',
    '"peer_port":%cp',
    '"dst":"%[dst]"',
    '"dst_port":%[dst_port]',
    '"upstream":"%si"',
    '"upstream_port":"%sp"',
    '"source":"%bi"',
    '"source_port":"%bp"',
    '"received":%U',
    '"sent":%B',
    '"flags":"%ts"',
  ];
  return `  log-format '{${fields.join(',')}}'`;
}

function frontend(name: string, direction: string, binds: string[], port: number, backend: string): string {
  return [
    `frontend ${name}`,
    ...binds.map((bind) => `  bind ${bind}`),
    // Its own port as original destination means that none was restored: a loop.
    `  tcp-request connection reject if { dst_port ${port} }`,
    logFormat(direction),
    `  default_backend ${backend}`,
  ].join('\n');
}

function backend(name: string, source: string | null): string {
  const bound = source === null ? '' : ` source ${source}`;
  return `backend ${name}\n  server original 0.0.0.0:0${bound}`;
}

function config({ ip6 }: SidecarFiles): string {
  const out4 = `:${OUTBOUND_PORT}`;
  const out6 = `[::]:${OUTBOUND_PORT} v6only`;
  const in6 = `[::]:${INBOUND_PORT} v6only`;
  const sections = [
    'global\n  log stdout format raw local0 info\n  nbthread 1\n  maxconn 4000',
    'defaults\n  mode tcp\n  log global\n  retries 0\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h',
    frontend('outbound', 'outbound', ip6 ? [out4, out6] : [out4], OUTBOUND_PORT, 'passthrough'),
    frontend('inbound4', 'inbound', [`:${INBOUND_PORT}`], INBOUND_PORT, 'inbound4'),
    backend('passthrough', null),
    backend('inbound4', PASSTHROUGH.ip4),
  ];
  if (ip6) {
    sections.push(frontend('inbound6', 'inbound', [in6], INBOUND_PORT, 'inbound6'));
    sections.push(backend('inbound6', `[${PASSTHROUGH.ip6}]`));
  }
  return `${sections.join('\n\n')}\n`;
}

/** What HAProxy did not get to know it writes as `-`, and a port as 0. */
function optional(address: string, port: string): string | null {
  return address === '-' || address === '' ? null : endpoint(address, Number(port));
}

function parse(line: string): AccessRecord | null {
  if (!line.startsWith('{')) return null;
  const entry = v.parse(ENTRY, JSON.parse(line));
  return {
    direction: entry.direction,
    peer: endpoint(entry.peer, entry.peer_port),
    originalDst: endpoint(entry.dst, entry.dst_port),
    upstream: optional(entry.upstream, entry.upstream_port),
    source: optional(entry.source, entry.source_port),
    receivedBytes: entry.received,
    sentBytes: entry.sent,
    flags: entry.flags,
  };
}

export const HAPROXY: SidecarProgram = {
  kind: 'haproxy',
  locate: () => inPath('haproxy') ?? toolMissing('haproxy'),
  config,
  parse,
  logsToStdout: true,
  // It is polled level-triggered, so Shunt does not accelerate it unasked.
  annotations: { 'shunt.dev/acceleration': 'outbound' },
  preload6: 'original_dst6',
  argv: (program, { configFile }) => [program, '-db', '-f', configFile],
};
