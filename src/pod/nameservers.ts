/**
 * Servers in the resolv.conf of this node's pods, from the kubelet that writes it: its clusterDNS for most pods, the
 * node's own resolv.conf for dnsPolicy Default. Not from the pod itself: a container may write into its copy, and would
 * say with it which of its queries are captured. Source: kubelet pkg/kubelet/network/dns.
 */
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { parse as parseYaml } from 'yaml';
import { canonicalAddress } from '../policy/address.ts';
import type { PodObject } from './workload.ts';

const KUBELET_CONFIG = '/var/lib/kubelet/config.yaml';
const RESOLV_CONF = '/etc/resolv.conf';
/** The kubelet keeps the first three, as libc does. */
const MAX_SERVERS = 3;

const KubeletConfig = v.object({
  clusterDNS: v.nullish(v.array(v.string()), []),
  resolvConf: v.nullish(v.string(), RESOLV_CONF),
});

/**
 * @param kubeletConfig path of the kubelet's configuration file
 * @returns canonical addresses; none where the node has no such file, or cannot be asked
 */
export function nodeNameservers(pod: PodObject, kubeletConfig: string = KUBELET_CONFIG): string[] {
  const config = readKubeletConfig(kubeletConfig);
  if (config === null) return [];
  const cluster = config.clusterDNS.length > 0 && pod.spec.dnsPolicy !== 'Default';
  const base = cluster ? config.clusterDNS : serversOf(readText(config.resolvConf) ?? '');
  const servers = [...base, ...(pod.spec.nameservers ?? [])].flatMap((text) => canonicalAddress(text) ?? []);
  return [...new Set(servers)].slice(0, MAX_SERVERS);
}

/** @param text of a resolv.conf (resolv.conf(5)) */
export function serversOf(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const found = /^\s*nameserver\s+(\S+)/.exec(line);
    return found?.[1] === undefined ? [] : [found[1]];
  });
}

function readKubeletConfig(path: string): v.InferOutput<typeof KubeletConfig> | null {
  const text = readText(path);
  if (text === null) return null;
  try {
    const parsed = v.safeParse(KubeletConfig, parseYaml(text, { logLevel: 'error' }));
    return parsed.success ? parsed.output : null;
  } catch {
    // Not YAML: the kubelet does not run with it either.
    return null;
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Absent, or not mounted into the agent's container: the node does not say.
    return null;
  }
}
