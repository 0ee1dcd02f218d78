/** Why a target is missed, where the time goes, and what would be tried next; said of those that one run missed. */
import { median } from '../../lab/statistics.ts';
import type { Measurement } from './measure.ts';
import { type Profile, together } from './program_times.ts';
import type { BenchResult } from './run.ts';
import type { Verdict } from './targets.ts';

interface Note {
  title: string;
  /** Of the target's text. */
  about: RegExp;
  text(result: BenchResult): string;
}

const NOTES: readonly Note[] = [
  {
    title: 'Round trips, pod to pod',
    about: /^(round trip pod to pod|the same, \d+ B, where sidecars)/,
    text: (result) =>
      `Of the six hand-overs of a round trip (application, sidecar, sidecar, application, and back) two are accelerated by default on kernels where the canary finds that a
  sockhash hides unread bytes from an application (\`FIONREAD\`), four where it does not, six with \`shunt.dev/acceleration: full\` ([acceleration.md](acceleration.md)). The targets were
  set for four and more, with a sidecar that makes three system calls a message and nothing else; HAProxy has work of its own, which no redirection touches: the same six hand-overs gave
  0.63 (64 B) and 0.51 (4 KB) with it, against 0.58 and 0.45. A round trip of 64 B spends ${programsOf(result, 'accelerated', 'round trip')} in our programs. \`perf\` (cpu-clock, one core, 64 B) of
  CPU time: iptables 45 % TCP, IP and sockets, 11 % netfilter, 18 % epoll, 12 % user space; with \`full\` 29 % the sockmap's hand-over, 24 % epoll, 15 % user space, 7 % the scheduler, 5 % our programs and their
  call (in \`shunt_msg\` a quarter its own instructions, a quarter the lookups of flows and counters, a fifth reads of the peer's queue and number, a sixth \`bpf_msg_redirect_hash\`). So programs for nothing
  would win 0.03 of the 0.11 that are missing. Next: BTF pointers (\`bpf_rdonly_cast\`, 6.2) in place of the guarded reads; a hook, or a kernel, on which application
  sockets may enter without being asked.`,
  },
  {
    title: 'To a host outside',
    about: /^round trip to a host outside/,
    text: () =>
      `Nothing of that path is accelerated by default: what is seen is redirection alone, without connection tracking. By far most of it are the proxy and two passes through TCP, which
  both ways have in common; dialling the proxy by hand came to 0.7 to 0.9 when the target was set. Next: as above.`,
  },
  {
    title: 'Application to sidecar',
    about: /^application to sidecar/,
    text: () =>
      `By default this hop goes by TCP where the canary fails *unread bytes*. Opted in, it is a sockhash's hand-over against that of AF_UNIX; what remains between them is \`shunt_msg\` and
  the psock's queue. Next: to keep the two lookups in \`flows\` off the path, by storing the entry in the socket's own storage.`,
  },
  {
    title: 'Connections',
    about: /^connect, request, close: |un-accelerated, connect/,
    text: (result) =>
      `One is three connections: to the sidecar, to the other sidecar, to the application. By the kernel's own account (below) our programs take ${programsOf(result, 'redirect', 'connect')} of
  the ${usOf(result, 'connect-one', 'mean', 'redirect')} it takes, and ${programsOf(result, 'accelerated', 'connect')} of ${usOf(result, 'connect-one', 'mean', 'accelerated')} where the hop between the sidecars may be accelerated.
  \`perf\` (cpu-clock, caller, sidecars and server) gave netfilter 13 % of iptables' CPU time, of which 3 are the bridge's between the pods and ours as well; our programs and their hooks were 5 % of ours, a third of
  \`shunt_connect4\` being the socket's storage and a tenth \`bpf_bind()\`; user space, nearly all of it the proxies', is 17 % of both, and the rest the kernel's making, connecting, waking and closing of six sockets.
  So a redirection for nothing would come to 0.9 with this sidecar. Lookups in the lists of a
  policy are 0.1 %. Next: to take the destination across without \`pairs\`, and one storage in place of three.`,
  },
  {
    title: 'Streams',
    about: /^stream/,
    text: () =>
      'A stream is never taken up: it goes by TCP, and what is gained is connection tracking alone. Redirecting it needs a reader that tells the two kinds of bytes apart ([acceleration.md](acceleration.md), Limits).',
  },
  {
    title: 'Rules',
    about: /10,000 rules|own with no rule/,
    text: () =>
      'A chain of nft is walked at some 10 ns a rule, once a connection; the figure is that against all else that a connection through a proxy costs. `npm run bench:rules` has connect() alone.',
  },
  {
    title: 'Envoy',
    about: /^Envoy/,
    text: () =>
      `Most of a request's CPU time is Envoy's own, in user space, which no redirection changes: *direct* shows how little is left of it without. Next: as for round trips.`,
  },
  {
    title: 'Idle connections',
    about: /^agent beside/,
    text: () =>
      'A walk costs what it visits, and looks at each socket that ever met our hooks; beside it the kernel steps through the storages. Next: to keep a list of those that may be accelerated, so that a walk visits no other.',
  },
  {
    title: 'Readers that stop',
    about: /^a reader that/,
    text: () =>
      "What is taken is TCP's buffers of three connections and two proxies, which grow as the kernel sees fit, and 512 KiB at most of redirected bytes. `npm run test:integrity` holds it to bounds under fixed buffers.",
  },
  {
    title: 'Enrolling, and ADD',
    about: /^(enroll a pod|CNI ADD)/,
    text: (result) =>
      `In the same run Istio's rules by iptables took ${nodeFigure(result, 'nft')}, exec of \`true\` ${nodeFigure(result, 'true')}, and of the plugin, which answers VERSION itself, ${nodeFigure(result, 'cni-exec')}: what ADD has the agent do is the difference.
  The verifier's part of it is done before a pod asks (architecture.md, one sk_lookup instance per pod); the rest is system calls, and JavaScript that the image's Node interprets (memory before speed).
  By manifest, the reading of the directory comes to it. Next: one netlink dump of the namespace's listeners in place of three.`,
  },
  {
    title: "The agent's memory",
    about: /^agent with \d+ pods: resident/,
    text: () =>
      "55 MB of it are Node's own program, shared and not written to; a pod costs some 60 KB, most of it JavaScript's heap. `npm run test:image` holds the image itself to the bound.",
  },
  {
    title: 'The agent, idle with many pods',
    about: /^agent with \d+ pods, idle/,
    text: () =>
      'Between two looks at everything it is 0.001 of a core; what is above that is the look at everything once a minute, two to three milliseconds a pod with an interpreter. Next: one netlink dump of a namespace in place of three, and to look at a part of the pods at a time.',
  },
  {
    title: 'Commands',
    about: /^shunt /,
    text: (result) =>
      `\`node -e 0\` took ${nodeFigure(result, 'node')}: what is left is the loading of two modules of Node's (child_process brings the network's along) and of the command tree. A dump is decoded and made text entry by entry, and
  aligned at the end; the kernel gives 100,000 in 10 ms (\`npm run bench:libbpf\`). Next: commander without child_process; columns as wide as the first thousand entries are, so that a dump writes as it reads.`,
  },
];

function nodeFigure({ node }: BenchResult, id: string): string {
  const found = node.find((one) => one.id === id);
  return found === undefined ? 'not measured' : `${median(found.values).toFixed(1)} ${found.unit}`;
}

function programsOf({ profiles }: BenchResult, contender: Profile['contender'], what: string): string {
  const found = profiles.find((one) => one.contender === contender && one.what.includes(what));
  return found === undefined ? 'little' : `${together(found).toFixed(1)} us`;
}

function usOf({ measurements }: BenchResult, id: string, metric: string, contender: string): string {
  const found = measurements.find((one: Measurement) => one.case === id && one.metric.name === metric);
  const rounds = found?.values.find((value) => value.contender === contender)?.rounds;
  return rounds === undefined ? 'time' : `${median(rounds).toFixed(0)} us`;
}

/** As a Markdown list; empty when nothing is missed. */
export function notesOn(verdicts: readonly Verdict[], result: BenchResult): string {
  const missed = verdicts.filter(({ met }) => !met);
  return NOTES.filter(({ about }) => missed.some(({ target }) => about.test(target.text)))
    .map(({ title, text }) => `- **${title}.** ${text(result)}`)
    .join('\n');
}
