/** Settings of Istio that change its rules and that Shunt does not do yet: said, never silently dropped. */
import type { ContainerSpec, PodObject } from '../pod/workload.ts';
import { clip, parseGoBool } from './annotation_list.ts';
import { type IptablesOption, parseIptablesArgs } from './istio_iptables_args.ts';
import type { PolicyNote } from './profile.ts';

interface Unsupported {
  annotation?: string;
  /** Of istio-proxy in CNI mode, of istio-init in init mode. */
  env?: string;
  /** Environment that only istio-init reads. */
  initOnly?: boolean;
  option?: IptablesOption;
  /** Whether this value asks for anything. */
  asks(value: string): boolean;
  message: string;
}

const given = (value: string) => value.trim() !== '';
const switchedOn = (value: string) => parseGoBool(value) === true;
const INTERFACES = 'is not done by this version: connections of these interfaces are treated like all others';

const UNSUPPORTED: readonly Unsupported[] = [
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
    env: 'ISTIO_META_DNS_CAPTURE',
    asks: switchedOn,
    message: 'is not done by this version: DNS goes where it is sent',
  },
  {
    env: 'INVALID_DROP',
    asks: switchedOn,
    message: 'is not done by this version: invalid packets are not dropped',
  },
  {
    env: 'ISTIO_OUTBOUND_OWNER_GROUPS',
    initOnly: true,
    asks: (value) => given(value) && value !== '*',
    message: 'is not done by this version: all groups are captured',
  },
  {
    env: 'ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE',
    initOnly: true,
    asks: given,
    message: 'is not done by this version: these groups are captured like all others',
  },
  {
    env: 'ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR',
    initOnly: true,
    asks: (value) => given(value) && value !== '127.0.0.1/32',
    message: 'is not done by this version: only 127.0.0.1 is localhost to the sidecar',
  },
];

/** One note for each setting of the pod that Istio's rules would follow and ours do not. */
export function unsupportedSettings(
  pod: PodObject,
  proxy: ContainerSpec,
  init: ContainerSpec | null,
): PolicyNote[] {
  const options = init === null ? null : parseIptablesArgs(init.args);
  const env = init === null ? proxy.env : { ...proxy.env, ...init.env };
  return UNSUPPORTED.flatMap((setting) => {
    const { annotation, option, initOnly } = setting;
    const argument = option === undefined ? undefined : options?.get(option);
    const candidates = [
      argument && { annotation: `argument ${argument.flag} of istio-init`, value: argument.value },
      annotation && { annotation, value: pod.metadata.annotations[annotation] },
      setting.env &&
        (init !== null || initOnly !== true) && { annotation: `env ${setting.env}`, value: env[setting.env] },
    ];
    const found = candidates.find(
      (candidate) => candidate && candidate.value !== undefined && setting.asks(candidate.value),
    );
    if (!found || found.value === undefined) return [];
    return [{ annotation: found.annotation, value: clip(found.value), message: setting.message }];
  });
}
