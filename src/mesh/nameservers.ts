/** Servers in the resolv.conf of a pod, for meshes that capture the queries to these alone. */
import type { PodObject } from '../pod/workload.ts';
import type { ProfileContext } from './profile.ts';

/**
 * The settings' word first; then the Pod's own list where its dnsPolicy is None; then what the node says. Empty where
 * nobody knows.
 */
export function nameserversOf(pod: PodObject, { settings, nameservers }: ProfileContext): string[] {
  if (settings?.nameservers !== undefined) return [...settings.nameservers];
  if (pod.spec.dnsPolicy === 'None') return [...(pod.spec.nameservers ?? [])];
  return [...(nameservers?.(pod) ?? [])];
}

export const NO_NAMESERVERS =
  "captures queries to the servers of the pod's resolv.conf, which the Pod does not show: no query is captured until the node or the settings name them";
