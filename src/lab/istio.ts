/** Istio's defaults (reference: `istio-iptables` and the sidecar injector). */
export const SIDECAR_UID = 1337;
export const SIDECAR_GID = 1337;
export const OUTBOUND_PORT = 15001;
export const INBOUND_PORT = 15006;
/** HBONE: captured in no direction. */
export const TUNNEL_PORT = 15008;
/** Merged metrics, health and Prometheus: never captured inbound. */
export const INBOUND_EXCLUDED = [15020, 15021, 15090] as const;
/** Source of the sidecar's connections to its own application. */
export const PASSTHROUGH = { ip4: '127.0.0.6', ip6: '::6' } as const;
export const SIDECAR_CONTAINER = 'istio-proxy';
