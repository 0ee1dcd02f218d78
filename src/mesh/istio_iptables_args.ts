/**
 * Arguments of the `istio-init` container, which runs istio-iptables. The injector wrote the pod's annotations and the
 * mesh-wide settings into them, so in init mode they are what the pod's rules were made from, whatever an annotation
 * says by now.
 *
 * Source: istio/istio tools/istio-iptables/pkg/cmd/root.go (flags), injection-template.yaml (which are passed).
 */

/** Options that take a value and that say something of the rules. */
export type IptablesOption =
  | 'outboundPort'
  | 'inboundPort'
  | 'tunnelPort'
  | 'proxyUid'
  | 'proxyGid'
  | 'interceptionMode'
  | 'includeInboundPorts'
  | 'excludeInboundPorts'
  | 'includeOutboundPorts'
  | 'excludeOutboundPorts'
  | 'includeOutboundIPRanges'
  | 'excludeOutboundIPRanges'
  | 'excludeInterfaces'
  | 'rerouteInterfaces';

const OPTIONS: readonly { option: IptablesOption; short: string; long: readonly string[] }[] = [
  { option: 'outboundPort', short: 'p', long: ['envoy-port'] },
  { option: 'inboundPort', short: 'z', long: ['inbound-capture-port'] },
  { option: 'tunnelPort', short: 'e', long: ['inbound-tunnel-port'] },
  { option: 'proxyUid', short: 'u', long: ['proxy-uid'] },
  { option: 'proxyGid', short: 'g', long: ['proxy-gid'] },
  { option: 'interceptionMode', short: 'm', long: ['istio-inbound-interception-mode'] },
  { option: 'includeInboundPorts', short: 'b', long: ['istio-inbound-ports'] },
  { option: 'excludeInboundPorts', short: 'd', long: ['istio-local-exclude-ports'] },
  { option: 'includeOutboundPorts', short: 'q', long: ['istio-outbound-ports'] },
  { option: 'excludeOutboundPorts', short: 'o', long: ['istio-local-outbound-ports-exclude'] },
  { option: 'includeOutboundIPRanges', short: 'i', long: ['istio-service-cidr'] },
  { option: 'excludeOutboundIPRanges', short: 'x', long: ['istio-service-exclude-cidr'] },
  { option: 'excludeInterfaces', short: 'c', long: ['istio-exclude-interfaces'] },
  { option: 'rerouteInterfaces', short: 'k', long: ['kube-virt-interfaces', 'reroute-virtual-interfaces'] },
];

/** An option as it was given: its spelling, for messages, and its text. */
export interface GivenOption {
  flag: string;
  value: string;
}

/** Reads options as Go's pflag does: `-p 1`, `-p1`, `-p=1`, `--long 1`, `--long=1`; the last of one wins. */
export function parseIptablesArgs(args: readonly string[]): Map<IptablesOption, GivenOption> {
  const given = new Map<IptablesOption, GivenOption>();
  for (let at = 0; at < args.length; at++) {
    const split = splitFlag(args[at] ?? '');
    if (split === null) continue;
    const { name, attached } = split;
    const known = OPTIONS.find(
      ({ short, long }) => name === `-${short}` || long.some((word) => name === `--${word}`),
    );
    if (known === undefined) continue;
    const value = attached ?? args[++at];
    if (value !== undefined) given.set(known.option, { flag: name, value });
  }
  return given;
}

function splitFlag(argument: string): { name: string; attached: string | undefined } | null {
  const long = /^(--[^=]+)(?:=(.*))?$/s.exec(argument);
  if (long !== null) return { name: long[1] ?? '', attached: long[2] };
  const short = /^(-[^-=])(?:=?(.+))?$/s.exec(argument);
  return short === null ? null : { name: short[1] ?? '', attached: short[2] };
}
