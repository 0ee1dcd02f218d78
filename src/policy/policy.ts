/** Closed range of TCP ports, host order, 0..65535. */
export interface PortRange {
  first: number;
  last: number;
}

/**
 * What a mesh's rules do to one pod, in mesh-neutral words. mesh/ makes it from a Pod object, datapath/ makes it
 * true, and bpf/policy.h takes the decisions. Fields follow reference section "RedirectPolicy".
 */
export interface RedirectPolicy {
  /** Profile that made it, for people: `istio`. */
  mesh: string;
  identity: {
    /** Uids of the sidecar, matched in order before gids. At most 4. */
    proxyUids: number[];
    /** Gids of the sidecar. At most 4. */
    proxyGids: number[];
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
    /** Sidecar to an own address that is not localhost is inbound traffic. */
    selfCallInbound: boolean;
    /** Connections from 127.0.0.6 or ::6 are the sidecar's own way to the application. */
    passthroughSource: boolean;
  };
  outbound: {
    excludePorts: PortRange[];
    /** Captured whatever the address, after the exclusions. */
    includePorts: PortRange[];
    /** Canonical CIDRs of either family. */
    excludeCidrs: string[];
    includeCidrs: string[] | '*';
  };
  inbound: {
    includePorts: PortRange[] | '*';
    /** Read only when includePorts is `*`, as Istio does. */
    excludePorts: PortRange[];
  };
}

/** How far acceleration may go for a pod (`shunt.dev/acceleration`). */
export type Acceleration = 'off' | 'outbound' | 'full';
