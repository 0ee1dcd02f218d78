import { type Features, features, type Support } from 'libbpf-ts';

/** One thing the kernel has to be able to do, found out by doing it. */
export interface Feature {
  /** As doctor names it. */
  name: string;
  available: boolean;
  /** What the kernel answered: an errno's name. */
  reason: string | null;
  /** What does not work without it. */
  needed: 'outbound redirection' | 'inbound redirection' | 'original destinations' | 'acceleration';
  /** Linux version that brought it. */
  since: string;
}

interface Wanted extends Pick<Feature, 'name' | 'needed' | 'since'> {
  support(found: Features): Support;
}

const OUTBOUND = 'outbound redirection';
const INBOUND = 'inbound redirection';
const ORIGINAL = 'original destinations';
const ACCELERATION = 'acceleration';

/** What the programs of bpf/ use. */
const WANTED: readonly Wanted[] = [
  { name: 'link to a cgroup', needed: OUTBOUND, since: '5.7', support: (f) => f.links.cgroup },
  {
    name: 'cgroup/connect4',
    needed: OUTBOUND,
    since: '4.17',
    support: (f) => f.programs.cgroup_inet4_connect,
  },
  {
    name: 'cgroup/connect6',
    needed: OUTBOUND,
    since: '4.17',
    support: (f) => f.programs.cgroup_inet6_connect,
  },
  { name: 'LPM trie', needed: OUTBOUND, since: '4.11', support: (f) => f.maps.lpm_trie },
  { name: 'socket storage', needed: OUTBOUND, since: '5.2', support: (f) => f.maps.sk_storage },
  { name: 'ring buffer', needed: OUTBOUND, since: '5.8', support: (f) => f.maps.ringbuf },
  { name: 'cgroup/getsockopt', needed: ORIGINAL, since: '5.3', support: (f) => f.programs.cgroup_getsockopt },
  {
    name: 'cgroup/getpeername4',
    needed: ORIGINAL,
    since: '5.8',
    support: (f) => f.programs.cgroup_inet4_getpeername,
  },
  {
    name: 'cgroup/getpeername6',
    needed: ORIGINAL,
    since: '5.8',
    support: (f) => f.programs.cgroup_inet6_getpeername,
  },
  { name: 'sockops', needed: ORIGINAL, since: '4.13', support: (f) => f.programs.cgroup_sock_ops },
  {
    name: 'cgroup/post_bind4',
    needed: INBOUND,
    since: '4.17',
    support: (f) => f.programs.cgroup_inet4_post_bind,
  },
  {
    name: 'cgroup/post_bind6',
    needed: INBOUND,
    since: '4.17',
    support: (f) => f.programs.cgroup_inet6_post_bind,
  },
  { name: 'link to a netns', needed: INBOUND, since: '5.8', support: (f) => f.links.netns },
  { name: 'sk_lookup', needed: INBOUND, since: '5.9', support: (f) => f.programs.sk_lookup },
  { name: 'sockhash', needed: INBOUND, since: '4.18', support: (f) => f.maps.sockhash },
  { name: 'sk_msg', needed: ACCELERATION, since: '4.17', support: (f) => f.programs.sk_msg_verdict },
  {
    name: 'iter/bpf_sk_storage_map',
    needed: ACCELERATION,
    since: '5.9',
    support: (f) => f.iterators.bpf_sk_storage_map,
  },
];

/** Tries everything that the data plane uses; nothing is attached, and nothing stays. */
export async function probeFeatures(): Promise<Feature[]> {
  const found = await features.probe();
  return WANTED.map(({ name, needed, since, support }) => {
    const { supported, code } = support(found);
    return { name, available: supported, reason: code ?? null, needed, since };
  });
}
