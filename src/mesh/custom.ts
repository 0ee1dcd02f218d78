/** Any other sidecar, as the operator's settings describe it. */
import type { PodObject } from '../pod/workload.ts';
import { basePolicy } from '../policy/policy.ts';
import { type Parsed, parseCidrOrAddress, parsePortRange } from './annotation_list.ts';
import type { MeshProfile, ProfileContext, Recognition } from './profile.ts';
import { containerOf, Reading } from './reading.ts';

export const custom: MeshProfile = { name: 'custom', recognise: recogniseCustom };

function recogniseCustom(pod: PodObject, { settings }: ProfileContext = {}): Recognition | null {
  for (const mesh of settings?.custom ?? []) {
    const proxy = containerOf(pod, mesh.container);
    if (proxy === null) continue;
    const reading = new Reading(`the configuration of ${mesh.name}`);
    const each = <T>(field: string, list: string[] | undefined, parse: (text: string) => Parsed<T>): T[] =>
      (list ?? []).flatMap((text) => {
        const value = reading.take<T | null>(`${mesh.name}, ${field}`, text, parse, null);
        return value === null ? [] : [value];
      });
    const range = (text: string) => parsePortRange(text, '-');
    const own = mesh.proxyUids === undefined && mesh.proxyGids === undefined;
    const ids = (given: number[] | undefined, of: number | undefined) => given ?? (own && of ? [of] : []);
    const base = basePolicy(
      mesh.name,
      { proxyUids: ids(mesh.proxyUids, proxy.runAsUser), proxyGids: ids(mesh.proxyGids, proxy.runAsGroup) },
      { outbound: mesh.outboundPort, inbound: mesh.inboundPort, tunnel: mesh.tunnelPort ?? null },
    );
    return reading.finish(pod, mesh.container, {
      ...base,
      families: { ip4: true, ip6: mesh.ip6 ?? true },
      loopback: {
        ...base.loopback,
        sidecar: mesh.selfCallsInbound === true ? 'inbound' : 'bypass',
        passthroughSource: mesh.passthroughSource ?? false,
      },
      outbound: {
        ...base.outbound,
        excludePorts: each('excludeOutboundPorts', mesh.excludeOutboundPorts, range),
        excludeCidrs: each('excludeOutboundCidrs', mesh.excludeOutboundCidrs, parseCidrOrAddress),
      },
      inbound: {
        ...base.inbound,
        excludePorts: each('excludeInboundPorts', mesh.excludeInboundPorts, range),
      },
    });
  }
  return null;
}
