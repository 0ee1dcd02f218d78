import { join } from 'node:path';
import * as v from 'valibot';
import { packageRoot } from '../package_root.ts';
import type { AccessRecord } from './access_log.ts';
import { below, inPath, isExecutable } from './checkout.ts';
import { toolMissing } from './command.ts';
import { INBOUND_PORT, OUTBOUND_PORT, PASSTHROUGH } from './istio.ts';
import type { SidecarFiles, SidecarProgram } from './sidecar.ts';

/*
 * Envoy as Istio's sidecar sets it up, cut down to TCP: virtualOutbound and virtualInbound with the original_dst
 * listener filter, pass-through clusters of type ORIGINAL_DST, the 127.0.0.6 source inbound, and the black hole
 * for a connection whose original destination is the listener itself (that is, none was restored).
 */

const ENTRY = v.object({
  direction: v.picklist(['outbound', 'inbound']),
  peer: v.string(),
  original_dst: v.string(),
  upstream: v.nullable(v.string()),
  source: v.nullable(v.string()),
  received: v.number(),
  sent: v.number(),
  flags: v.nullable(v.string()),
});

function locate(): string {
  const named = process.env.SHUNT_ENVOY;
  if (named !== undefined && isExecutable(named)) return named;
  return below(join(packageRoot(), '.cache', 'envoy'), 'envoy') ?? inPath('envoy') ?? toolMissing('envoy');
}

function accessLog(direction: string, path: string): object {
  return {
    name: 'envoy.access_loggers.file',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
      path,
      log_format: {
        json_format: {
          direction,
          peer: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%',
          original_dst: '%DOWNSTREAM_LOCAL_ADDRESS%',
          upstream: '%UPSTREAM_HOST%',
          source: '%UPSTREAM_LOCAL_ADDRESS%',
          received: '%BYTES_RECEIVED%',
          sent: '%BYTES_SENT%',
          flags: '%RESPONSE_FLAGS%',
        },
      },
    },
  };
}

function chain(direction: string, cluster: string, accessLogFile: string): object {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: cluster,
      cluster,
      access_log: [accessLog(direction, accessLogFile)],
    },
  };
}

function socket(address: string, port: number): object {
  return { socket_address: { address, port_value: port } };
}

function listener(
  name: string,
  direction: string,
  port: number,
  cluster: string,
  files: SidecarFiles,
): object {
  return {
    name,
    address: socket('0.0.0.0', port),
    ...(files.ip6 ? { additional_addresses: [{ address: socket('::', port) }] } : {}),
    listener_filters: [
      {
        name: 'envoy.filters.listener.original_dst',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst',
        },
      },
    ],
    filter_chains: [
      {
        name: `${name}-blackhole`,
        filter_chain_match: { destination_port: port },
        filters: [chain(direction, 'BlackHoleCluster', files.accessLogFile)],
      },
      { name, filters: [chain(direction, cluster, files.accessLogFile)] },
    ],
  };
}

function passthrough(name: string, files: SidecarFiles | null): object {
  const bind = {
    source_address: { address: PASSTHROUGH.ip4, port_value: 0 },
    ...(files?.ip6 === true
      ? { extra_source_addresses: [{ address: { address: PASSTHROUGH.ip6, port_value: 0 } }] }
      : {}),
  };
  return {
    name,
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: '5s',
    ...(files === null ? {} : { upstream_bind_config: bind }),
  };
}

function config(files: SidecarFiles): string {
  const bootstrap = {
    admin: { address: socket('127.0.0.1', 15000) },
    static_resources: {
      listeners: [
        listener('virtualOutbound', 'outbound', OUTBOUND_PORT, 'PassthroughCluster', files),
        listener('virtualInbound', 'inbound', INBOUND_PORT, 'InboundPassthroughCluster', files),
      ],
      clusters: [
        passthrough('PassthroughCluster', null),
        passthrough('InboundPassthroughCluster', files),
        { name: 'BlackHoleCluster', type: 'STATIC', connect_timeout: '5s' },
      ],
    },
  };
  return JSON.stringify(bootstrap, null, 2);
}

function parse(line: string): AccessRecord | null {
  if (!line.startsWith('{')) return null;
  const entry = v.parse(ENTRY, JSON.parse(line));
  return {
    direction: entry.direction,
    peer: entry.peer,
    originalDst: entry.original_dst,
    upstream: entry.upstream,
    source: entry.source,
    receivedBytes: entry.received,
    sentBytes: entry.sent,
    flags: entry.flags ?? '-',
  };
}

export const ENVOY: SidecarProgram = {
  kind: 'envoy',
  locate,
  config,
  parse,
  logsToStdout: false,
  argv: (program, { configFile }) => [
    program,
    '--config-path',
    configFile,
    '--concurrency',
    '1',
    '--log-level',
    'warn',
    '--disable-hot-restart',
    // Envoy holds access records back for 10 s otherwise.
    '--file-flush-interval-msec',
    '10',
  ],
};
