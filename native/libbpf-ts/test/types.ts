/*
 * What must and must not compile. Nothing here runs: `tsc` fails when a line marked @ts-expect-error is accepted, or
 * another one is not.
 */
import {
  BpfMap,
  codec,
  Link,
  type PerCpuMap,
  type RingBuffer,
  type SkStorageMap,
  type SockMap,
} from 'libbpf-ts';
import {
  type Event,
  EventCodec,
  everything,
  type FlowKey,
  type Pod,
  PodFlags,
  type SocketNote,
  type Tally,
  type Verdict,
} from './gen/everything.ts';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_proof: Same<A, B>): void {}

export async function order(cgroup: string): Promise<void> {
  using open = everything.open({ file: 'everything.bpf.o' });

  // @ts-expect-error a program of an open object cannot be attached: it is not in the kernel
  Link.attachCgroup(open.programs.connect4, { cgroup });
  // @ts-expect-error nor can its maps be read
  open.maps.pods.get(1n);

  using object = await open.load();
  Link.attachCgroup(object.programs.connect4, { cgroup });
  // @ts-expect-error settings are made before load
  object.rodata.netns_cookie = 1n;
  // @ts-expect-error sizes too
  object.maps.pods.maxEntries = 5;
  // @ts-expect-error load is for open objects
  await object.load();
}

export function settings(): void {
  using open = everything.open({ file: new Uint8Array() });
  open.rodata.netns_cookie = 5n;
  // @ts-expect-error a __u64 is a bigint
  open.rodata.netns_cookie = 5;
  // @ts-expect-error a __u16 is a number
  open.rodata.proxy_port = '15001';
  open.rodata.fallback = 'VERDICT_DROP';
  // @ts-expect-error not an enumerator
  open.rodata.fallback = 'VERDICT_MAYBE';
  // @ts-expect-error no such setting
  open.rodata.proxyPort = 1;
  open.maps.pods.maxEntries = 4096;
  // @ts-expect-error no such map
  open.maps.pod.maxEntries = 4096;
  // @ts-expect-error no such program
  open.programs.connect6.autoload = false;
  // @ts-expect-error what to open has to be said
  everything.open({});
}

export async function maps(): Promise<void> {
  using open = everything.open({ file: 'everything.bpf.o' });
  using object = await open.load();
  const { pods, tallies, socks, notes, events, cidrs, slots } = object.maps;

  const _pods: BpfMap<bigint, Pod> = pods;
  const _tallies: PerCpuMap<number, Tally> = tallies;
  const _socks: SockMap<FlowKey> = socks;
  const _notes: SkStorageMap<SocketNote> = notes;
  const _ring: RingBuffer<Event> = events.open(EventCodec);
  const verdict = cidrs.get({ prefixlen: 0, policy: 0, addr: { bytes: new Uint8Array(16) } });
  same<typeof verdict, Verdict | undefined>(true);
  same<ReturnType<typeof tallies.get>, Tally[] | undefined>(true);
  same<ReturnType<typeof tallies.sum>, Tally | undefined>(true);

  slots.set(1, 2n, 'noexist');
  // @ts-expect-error the key is a __u32
  slots.set(1n, 2n);
  // @ts-expect-error the value is a __u64
  slots.set(1, 2);
  // @ts-expect-error flags are named
  slots.set(1, 2n, 1);
  // @ts-expect-error members may be missing in C, not here
  pods.set(1n, { ip4: 1 });
  // @ts-expect-error a ring buffer has no entries
  events.get(1);
  // @ts-expect-error a hash has no sums
  pods.sum(1n);

  for (const [key, value] of pods) {
    same<typeof key, bigint>(true);
    same<typeof value.flags, number>(true);
    const _enrolled: boolean = (value.flags & PodFlags.POD_ENROLLED) !== 0;
    // @ts-expect-error padding is not read
    const _pad: number = value.pad;
  }
  // @ts-expect-error codecs are needed to read a pin
  BpfMap.fromPin('/sys/fs/bpf/pods');
  same<ReturnType<typeof BpfMap.fromPin<number, bigint>>, BpfMap<number, bigint>>(true);
  BpfMap.fromPin('/sys/fs/bpf/slots', { key: codec.u32, value: codec.u64 }).set(1, 1n);
}
