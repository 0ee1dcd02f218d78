/** Closed range of TCP or UDP ports, host order, 0..65535. */
export interface PortRange {
  first: number;
  last: number;
}

/** Closed range of uids or gids. */
export interface IdRange {
  first: number;
  last: number;
}

/** Which protocols a port rule speaks of. */
export type Protocols = 'tcp' | 'udp' | 'both';

/**
 * What a mesh's rules do to one pod, in mesh-neutral words. mesh/ makes it from a Pod object, datapath/ makes it
 * true, and bpf/policy.h takes the decisions. Fields follow reference section "RedirectPolicy".
 */
export interface RedirectPolicy {
  /** Profile that made it, for people: `istio`. */
  mesh: string;
  /** Families that the mesh installs rules for. Traffic of the other passes. */
  families: { ip4: boolean; ip6: boolean };
  identity: {
    /** Uids of the sidecar, matched in order before gids. At most 4. Empty: told by gid alone. */
    proxyUids: number[];
    /** Gids of the sidecar. At most 4. */
    proxyGids: number[];
  };
  exempt: {
    /** Users whose connections pass, whatever they are (Consul). */
    uids: IdRange[];
    /** Istio's owner groups: only these gids are captured, or all but `excludeGids`. */
    includeGids: number[] | '*';
    excludeGids: number[];
    /** Kuma: connections of these users to these ports pass. */
    uidPorts: { protocols: Protocols; ports: PortRange[]; uids: IdRange }[];
  };
  ports: {
    /** Sidecar's port for outbound connections. */
    outbound: number;
    /** Sidecar's port for inbound connections. */
    inbound: number;
    /** Never captured inbound, nor for self-calls (HBONE's 15008); null for none. */
    tunnel: number | null;
  };
  loopback: {
    /** What localhost means: IPv4 CIDR inside 127.0.0.0/8. IPv6 is always ::1/128. */
    localhost4: string;
    /**
     * Application to an address that routes to lo: `bypass-local` passes them all (Istio, Linkerd, Kuma, OSM),
     * `bypass-localhost` only localhost (Consul), `capture` none of them by this rule.
     */
    application: 'bypass-local' | 'bypass-localhost' | 'capture';
    /** Sidecar to an own address that is not localhost: inbound traffic (Istio, Kuma, OSM) or passed (others). */
    sidecar: 'inbound' | 'bypass';
    /** Connections from 127.0.0.6 or ::6 on lo are the sidecar's own way to the application. */
    passthroughSource: boolean;
    /** OSM's localProxyMode PodIP: sidecar to 127.0.0.1 goes to the pod's address. */
    sidecarLocalhostToPodIp: boolean;
  };
  outbound: {
    enabled: boolean;
    excludePorts: PortRange[];
    /** Protocols that excludePorts speaks of: udp matters where DNS is captured. */
    excludePortProtocols: Protocols;
    /** Captured whatever the address, after the exclusions. */
    includePorts: PortRange[];
    /** Canonical CIDRs of either family. */
    excludeCidrs: string[];
    includeCidrs: string[] | '*';
  };
  inbound: {
    enabled: boolean;
    includePorts: PortRange[] | '*';
    /** Read only when includePorts is `*`, as Istio does. */
    excludePorts: PortRange[];
    /** Source blocks whose connections pass (Linkerd's skip-subnets, Kuma's exclude-inbound-ips). */
    excludeSources: string[];
  };
  interfaces: {
    /** Traffic of these interfaces passes (Istio, OSM). */
    exclude: string[];
    /** What comes in by these is outbound traffic (Istio's reroute-virtual-interfaces). */
    reroute: string[];
    /** Kuma's virtual networks: what comes in by the interface and is not for the block is outbound. */
    virtual: { name: string; cidr: string }[];
  };
  dns: {
    /** `servers`: only queries to those listed; `localhost`: only those to 127.0.0.1 and ::1. */
    mode: 'off' | 'all' | 'servers' | 'localhost';
    servers: string[];
    /** Where queries go: a port of the same address family's localhost, or an address and port. */
    target: { address: string | null; port: number } | null;
    tcp: 'capture' | 'bypass' | 'as-other-tcp';
    /** Conntrack zones keep client and upstream queries apart (iptables only). */
    splitZones: boolean;
  };
  misc: {
    /** Drop packets that connection tracking calls invalid (iptables only). */
    dropInvalid: boolean;
  };
}

/** A policy that captures everything and knows no exception: what a profile starts from. */
export function basePolicy(
  mesh: string,
  identity: RedirectPolicy['identity'],
  ports: RedirectPolicy['ports'],
): RedirectPolicy {
  return {
    mesh,
    families: { ip4: true, ip6: true },
    identity,
    exempt: { uids: [], includeGids: '*', excludeGids: [], uidPorts: [] },
    ports,
    loopback: {
      localhost4: '127.0.0.1/32',
      application: 'bypass-local',
      sidecar: 'inbound',
      passthroughSource: true,
      sidecarLocalhostToPodIp: false,
    },
    outbound: {
      enabled: true,
      excludePorts: [],
      excludePortProtocols: 'tcp',
      includePorts: [],
      excludeCidrs: [],
      includeCidrs: '*',
    },
    inbound: { enabled: true, includePorts: '*', excludePorts: [], excludeSources: [] },
    interfaces: { exclude: [], reroute: [], virtual: [] },
    dns: { mode: 'off', servers: [], target: null, tcp: 'as-other-tcp', splitZones: false },
    misc: { dropInvalid: false },
  };
}

/**
 * How far acceleration may go for a pod (`shunt.dev/acceleration`). `auto` is `outbound` for a sidecar that is polled as
 * one that reads until there is nothing; with `outbound` and `full` the operator says that it does.
 */
export const ACCELERATIONS = ['off', 'auto', 'outbound', 'full'] as const;
export type Acceleration = (typeof ACCELERATIONS)[number];
