/** Settings of Istio that not every backend follows, or that nobody can read from the Pod: said, never silently dropped. */
import type { ContainerSpec, PodObject } from '../pod/workload.ts';
import type { RedirectPolicy } from '../policy/policy.ts';
import { clip, parseGoBool } from './annotation_list.ts';
import { type IptablesOption, parseIptablesArgs } from './istio_iptables_args.ts';
import { NO_NAMESERVERS } from './nameservers.ts';
import type { PolicyNote } from './profile.ts';

interface Setting {
  annotation?: string;
  /** Of istio-proxy in CNI mode, of istio-init in init mode. */
  env?: string;
  option?: IptablesOption;
  /** Whether this value asks for anything. */
  asks(value: string): boolean;
  message: string;
}

const given = (value: string) => value.trim() !== '';
const switchedOn = (value: string) => parseGoBool(value) === true;
const BY_ITSELF = 'is followed by the iptables backend alone, which such a pod gets by itself';
const INTERFACES = `${BY_ITSELF}: eBPF sees no interfaces`;
const UNREADABLE = 'is neither true nor false; Istio takes it for false';

const IPTABLES_ALONE: readonly Setting[] = [
  {
    annotation: 'traffic.sidecar.istio.io/excludeInterfaces',
    option: 'excludeInterfaces',
    asks: given,
    message: INTERFACES,
  },
  {
    annotation: 'istio.io/reroute-virtual-interfaces',
    option: 'rerouteInterfaces',
    asks: given,
    message: INTERFACES,
  },
  { annotation: 'traffic.sidecar.istio.io/kubevirtInterfaces', asks: given, message: INTERFACES },
  {
    env: 'INVALID_DROP',
    asks: switchedOn,
    message: `${BY_ITSELF}: eBPF drops no invalid packets`,
  },
  ...['ISTIO_META_DNS_CAPTURE', 'INVALID_DROP', 'ISTIO_DUAL_STACK', 'CAPTURE_ALL_DNS'].map((env) => ({
    env,
    asks: (value: string) => given(value) && parseGoBool(value) === null,
    message: UNREADABLE,
  })),
];

/** Environment that the rules are made from: in init mode that of istio-init counts before istio-proxy's. */
export function environment(proxy: ContainerSpec, init: ContainerSpec | null): Record<string, string> {
  return init === null ? proxy.env : { ...proxy.env, ...init.env };
}

/** A note for each setting of the pod that a person should know is not followed everywhere. */
export function istioNotes(
  pod: PodObject,
  proxy: ContainerSpec,
  init: ContainerSpec | null,
  { dns }: RedirectPolicy,
): PolicyNote[] {
  const options = init === null ? null : parseIptablesArgs(init.args);
  const env = environment(proxy, init);
  const notes = IPTABLES_ALONE.flatMap((setting) => {
    const { annotation, option } = setting;
    const argument = option === undefined ? undefined : options?.get(option);
    const candidates = [
      argument && { annotation: `argument ${argument.flag} of istio-init`, value: argument.value },
      annotation && { annotation, value: pod.metadata.annotations[annotation] },
      setting.env && { annotation: `env ${setting.env}`, value: env[setting.env] },
    ];
    const found = candidates.find(
      (candidate) => candidate && candidate.value !== undefined && setting.asks(candidate.value),
    );
    if (!found || found.value === undefined) return [];
    return [{ annotation: found.annotation, value: clip(found.value), message: setting.message }];
  });
  if (dns.mode === 'servers' && dns.servers.length === 0) {
    notes.push({
      annotation: 'env ISTIO_META_DNS_CAPTURE',
      value: env.ISTIO_META_DNS_CAPTURE ?? '',
      message: NO_NAMESERVERS,
    });
  }
  return notes;
}
