/** The rules that osm-init applies, read back from its script: as numbers and CIDRs, and nothing else. */
import type { PortRange } from '../policy/policy.ts';
import { isInterfaceName } from '../policy/validate.ts';
import { parseCidrOrAddress, parsePortList } from './annotation_list.ts';

export interface OsmScript {
  outboundPorts: PortRange[];
  inboundPorts: PortRange[];
  excludeCidrs: string[];
  includeCidrs: string[] | '*';
  interfaces: string[];
  /** The rules for lo, which the first versions did not have. */
  selfCallsInbound: boolean;
  applicationLocal: boolean;
  /** localProxyMode PodIP. */
  localhostToPodIp: boolean;
  /** Lines of the two chains that say something else, a few of them. */
  unknown: string[];
}

/** Rules that stand in every script, and that the profile states by itself. */
const SELF_CALLS = /^-o lo ! -d 127\.0\.0\.1\/32 -m owner --uid-owner 1500 -j \S*IN_REDIRECT$/;
const APPLICATION_LOCAL = /^-o lo -m owner ! --uid-owner 1500 -j RETURN$/;
const CONSTANT = [
  /^-m owner --uid-owner 1500 -j RETURN$/,
  /^-d 127\.0\.0\.1\/32 -j RETURN$/,
  /^-j RETURN$/,
  /^-p tcp --dport (?:15010|1590[1-4]) -j RETURN$/,
  /^(?:-p tcp )?-j \S*IN_REDIRECT$/,
];

/** @returns null when the text has no chain of OSM's, such as a script that only waits */
export function readOsmScript(text: string): OsmScript | null {
  const script: OsmScript = {
    outboundPorts: [],
    inboundPorts: [],
    excludeCidrs: [],
    includeCidrs: [],
    interfaces: [],
    selfCallsInbound: false,
    applicationLocal: false,
    localhostToPodIp: false,
    unknown: [],
  };
  const included: string[] = [];
  let captureAll = false;
  let found = false;
  for (const line of text.split('\n')) {
    const rule = /^\s*(?:iptables -t nat )?-[AI] (?:OSM_)?PROXY_(OUTBOUND|OUTPUT|INBOUND) (.*?)\s*$/.exec(
      line,
    );
    if (rule === null) {
      if (/-j DNAT --to-destination/.test(line) && /-d 127\.0\.0\.1\/32/.test(line))
        script.localhostToPodIp = true;
      continue;
    }
    found = true;
    const [, chain = '', body = ''] = rule;
    const inbound = chain === 'INBOUND';
    if (/^-j \S*(?:OUT_REDIRECT|PROXY_REDIRECT)$/.test(body)) captureAll = true;
    else if (!inbound && SELF_CALLS.test(body)) script.selfCallsInbound = true;
    else if (!inbound && APPLICATION_LOCAL.test(body)) script.applicationLocal = true;
    else if (!takeRule(script, included, inbound, body) && script.unknown.length < 10) {
      script.unknown.push(line.trim());
    }
  }
  if (!found) return null;
  script.includeCidrs = captureAll ? '*' : included;
  return script;
}

/** @returns false when the rule is none of those the injector writes */
function takeRule(script: OsmScript, included: string[], inbound: boolean, body: string): boolean {
  if (CONSTANT.some((pattern) => pattern.test(body))) return true;
  const ports = /^-p tcp (?:-m|--match) multiport --dports (\S+) -j RETURN$/.exec(body);
  if (ports !== null) {
    const parsed = parsePortList(ports[1] ?? '');
    if (parsed.ok) (inbound ? script.inboundPorts : script.outboundPorts).push(...parsed.value);
    return parsed.ok;
  }
  const destination = /^-d (\S+) -j (RETURN|\S*(?:OUT_REDIRECT|PROXY_REDIRECT))$/.exec(body);
  if (destination !== null && !inbound) {
    const parsed = parseCidrOrAddress(destination[1] ?? '');
    if (parsed.ok) (destination[2] === 'RETURN' ? script.excludeCidrs : included).push(parsed.value);
    return parsed.ok;
  }
  const name = /^-[io] (\S+) -j RETURN$/.exec(body)?.[1];
  if (name === undefined || !isInterfaceName(name)) return false;
  script.interfaces.push(name);
  return true;
}
