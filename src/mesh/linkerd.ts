/**
 * Linkerd. In init mode the arguments of `linkerd-init` are what its rules were made from; in CNI mode the annotations of
 * the pod, then of its namespace, then linkerd-cni's conflist, which the settings stand for.
 *
 * Sources: linkerd/linkerd2-proxy-init (proxy-init/cmd/root.go, pkg/iptables, cni-plugin/main.go), linkerd2
 * charts/partials/templates/_proxy-init.tpl; in words in reference/meshes.md 1.2 and 2.3.
 */
import type { PodObject } from '../pod/workload.ts';
import { basePolicy, type PortRange, type RedirectPolicy } from '../policy/policy.ts';
import { type Parsed, parseCidrList, parsePort, parsePortRange, refuse } from './annotation_list.ts';
import type { MeshProfile, ProfileContext, Recognition } from './profile.ts';
import { containerOf, leave, longOptions, Reading } from './reading.ts';
import type { MeshSettings } from './settings.ts';

const PROXY = 'linkerd-proxy';
const INIT = 'linkerd-init';
const CONTROL_PLANE = 'linkerd.io/control-plane-component';
const DEFAULT_UID = 2102;
const OUTBOUND = 4140;
const INBOUND = 4143;
/** Tap and admin, never captured. */
const OWN_PORTS = '4190,4191';
const API_SERVER_PORTS = [443, 6443];

export const linkerd: MeshProfile = {
  name: 'linkerd',
  recognise: recogniseLinkerd,
  // The arguments of linkerd-init hold what the namespace said; without it, linkerd-cni's rules ask the namespace.
  needsNamespace: (pod) => containerOf(pod, PROXY) !== null && containerOf(pod, INIT) === null,
};

function recogniseLinkerd(pod: PodObject, context: ProfileContext = {}): Recognition | null {
  const annotated = pod.metadata.annotations['linkerd.io/proxy-version'] !== undefined;
  if (containerOf(pod, PROXY) === null) {
    return annotated
      ? leave(`it has the annotation linkerd.io/proxy-version, but no container ${PROXY}`)
      : null;
  }
  const reading = new Reading('Linkerd');
  const init = containerOf(pod, INIT);
  const values =
    init === null ? cniValues(pod, context) : initValues(longOptions(init.args), context.settings?.linkerd);
  const ignored = ports(reading, values.ignoreInbound);
  const redirected = ports(reading, values.redirect);
  const subnets = reading.take(
    values.subnets.name,
    values.subnets.text,
    (text) => parseCidrList(text, { spaces: true }),
    [],
  );
  if (values.ip6 && subnets.length > 0) {
    // The one list is handed to iptables and to ip6tables, and each refuses blocks of the other family.
    reading.reject(values.subnets.name, values.subnets.text, 'it is given to rules of both families');
  }
  checkCloseWait(reading, values.closeWait, init !== null);
  const outboundIgnored = ports(reading, values.ignoreOutbound);
  if (values.ignoreOutbound.text.trim() !== '' && outboundIgnored.length === 0) {
    reading.reject(values.ignoreOutbound.name, values.ignoreOutbound.text, 'none of its elements is a port');
  }
  const base = basePolicy('linkerd', identity(reading, values), {
    outbound: reading.take(values.outboundPort.name, values.outboundPort.text, parsePort, OUTBOUND),
    inbound: reading.take(values.inboundPort.name, values.inboundPort.text, parsePort, INBOUND),
    tunnel: null,
  });
  const controlPlane = init === null && pod.metadata.labels[CONTROL_PLANE] !== undefined;
  const apiServer = controlPlane ? (context.settings?.linkerd?.apiServerPorts ?? API_SERVER_PORTS) : [];
  return reading.finish(pod, PROXY, {
    ...base,
    families: { ip4: true, ip6: values.ip6 },
    loopback: { ...base.loopback, sidecar: 'bypass', passthroughSource: false },
    outbound: {
      ...base.outbound,
      excludePorts: [...outboundIgnored, ...apiServer.map((port) => ({ first: port, last: port }))],
    },
    inbound: {
      ...base.inbound,
      includePorts: redirected.length === 0 ? '*' : without(redirected, ignored),
      excludePorts: redirected.length === 0 ? ignored : [],
      excludeSources: subnets,
    },
  });
}

/**
 * A sysctl and no rule: linkerd-init sets it in the pod before anything runs there, whoever redirects afterwards, and
 * fails on what is no number. Linkerd's CNI plugin does not know it.
 */
function checkCloseWait(reading: Reading, { name, text }: Setting, byInit: boolean): void {
  if (byInit) reading.take(name, text, parseSeconds, 0);
  else if (text !== '') reading.note(name, text, "is not followed, as by Linkerd's own CNI plugin");
}

function parseSeconds(text: string): Parsed<number> {
  return /^\d{1,9}$/.test(text) ? { ok: true, value: Number(text) } : refuse(text, 'a number of seconds');
}

/** A value and where it stands. */
interface Setting {
  name: string;
  text: string;
}

interface Values {
  uid: Setting;
  gid: Setting;
  outboundPort: Setting;
  inboundPort: Setting;
  ignoreInbound: Setting;
  ignoreOutbound: Setting;
  redirect: Setting;
  subnets: Setting;
  /** A sysctl of the pod, in seconds; 0 or nothing leaves it alone. */
  closeWait: Setting;
  ip6: boolean;
}

function initValues(options: Map<string, string[]>, settings: MeshSettings['linkerd']): Values {
  const option = (name: string, instead: string): Setting => ({
    name: `argument --${name} of ${INIT}`,
    text: options.get(name)?.at(-1) ?? instead,
  });
  return {
    uid: option('proxy-uid', String(settings?.proxyUid ?? DEFAULT_UID)),
    gid: option('proxy-gid', String(settings?.proxyGid ?? -1)),
    outboundPort: option('outgoing-proxy-port', String(OUTBOUND)),
    inboundPort: option('incoming-proxy-port', String(INBOUND)),
    ignoreInbound: option('inbound-ports-to-ignore', ''),
    ignoreOutbound: option('outbound-ports-to-ignore', ''),
    redirect: option('ports-to-redirect', ''),
    subnets: option('subnets-to-ignore', ''),
    closeWait: option('timeout-close-wait-secs', '0'),
    ip6: option('ipv6', 'true').text === 'true',
  };
}

function cniValues(pod: PodObject, { namespace, settings }: ProfileContext): Values {
  const conflist = settings?.linkerd;
  const annotation = (word: string): Setting | null => {
    const name = `config.linkerd.io/${word}`;
    const text = pod.metadata.annotations[name] ?? namespace?.annotations[name];
    return text === undefined ? null : { name, text };
  };
  const fixed = (text: string): Setting => ({ name: "linkerd-cni's configuration", text });
  const list = (texts: string[] | undefined) => (texts ?? []).join(',');
  const inbound = annotation('skip-inbound-ports');
  const joined = [OWN_PORTS, list(conflist?.inboundPortsToIgnore), inbound?.text ?? ''].filter(
    (text) => text !== '',
  );
  return {
    uid: annotation('proxy-uid') ?? fixed(String(conflist?.proxyUid ?? DEFAULT_UID)),
    gid: annotation('proxy-gid') ?? fixed(String(conflist?.proxyGid ?? -1)),
    outboundPort: fixed(String(conflist?.outboundPort ?? OUTBOUND)),
    inboundPort: fixed(String(conflist?.inboundPort ?? INBOUND)),
    // The plugin adds to its own list; outbound, the annotation stands in place of it.
    ignoreInbound: { name: inbound?.name ?? "linkerd-cni's configuration", text: joined.join(',') },
    ignoreOutbound: annotation('skip-outbound-ports') ?? fixed(list(conflist?.outboundPortsToIgnore)),
    redirect: fixed(list(conflist?.portsToRedirect)),
    subnets: annotation('skip-subnets') ?? fixed(list(conflist?.subnetsToIgnore)),
    closeWait: annotation('close-wait-timeout') ?? fixed(''),
    ip6: conflist?.ipv6 ?? false,
  };
}

/** Rules for a uid or gid are made only for numbers above 0. */
function identity(reading: Reading, { uid, gid }: Values): RedirectPolicy['identity'] {
  const number = (text: string): Parsed<number> =>
    /^(?:-1|0|[1-9][0-9]{0,9})$/.test(text) && Number(text) < 0xffff_ffff
      ? { ok: true, value: Number(text) }
      : refuse(text, 'a numeric id');
  const some = (id: number) => (id > 0 ? [id] : []);
  return {
    proxyUids: some(reading.take(uid.name, uid.text, number, 0)),
    proxyGids: some(reading.take(gid.name, gid.text, number, 0)),
  };
}

/** A bad element is logged and passed over, as proxy-init does. */
function ports(reading: Reading, { name, text }: Setting): PortRange[] {
  if (text === '') return [];
  return text.split(',').flatMap((element) => {
    const parsed = parsePortRange(element, '-');
    if (parsed.ok) return [parsed.value];
    reading.note(name, text, `${parsed.problem}; the element is passed over`);
    return [];
  });
}

/** The ports of the first list that are not in the second. */
function without(listed: readonly PortRange[], taken: readonly PortRange[]): PortRange[] {
  return taken.reduce<PortRange[]>(
    (left, { first, last }) =>
      left.flatMap((range) =>
        [
          { first: range.first, last: Math.min(range.last, first - 1) },
          { first: Math.max(range.first, last + 1), last: range.last },
        ].filter((part) => part.first <= part.last),
      ),
    [...listed],
  );
}
