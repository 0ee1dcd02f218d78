/** docs/performance.md, from one run. */
import { CONTENDERS } from './contenders.ts';
import { nodeRows } from './node_figures.ts';
import { notesOn } from './notes.ts';
import { together } from './program_times.ts';
import { type BenchReport, figure, limitOf, share, tableRows } from './report.ts';
import type { Verdict } from './targets.ts';

/** What every figure below means; written once, here. */
const MEANING = `Everything ran in one go and in turn: in each round every contender once, in an order that moves on, on the same
machine, with real pods, real proxies and real rules. A figure is the median over the rounds. In brackets stand the
median of the rounds' ratios to iptables REDIRECT (Istio's rules, nft), and the tenth and ninetieth percentile of these
ratios: what the machine did meanwhile met both. *direct* has no sidecar and no redirection. *redirect* is Shunt with
acceleration off for the pod, *accelerated* Shunt as it is by default with Envoy (pods with HAProxy say \`shunt.dev/acceleration: outbound\`), *full* the same where the pod opted in for its
applications (\`shunt.dev/acceleration: full\`). "One core" binds the caller, the sidecars and the server to one CPU, where
no wake-up of another CPU hides the difference; "a core a pod" has the calling pod on one and the serving pod on another.
CPU is what all of these used for one. Rules exclude blocks that are not called. Idle connections are the application's to
its sidecar, in the same pod. *AF_UNIX* is a pair of sockets of the same two programs, without any network.`;

/** Targets of the design that another command holds. */
const ELSEWHERE = `Held by other commands: enrolling pods that an API server tells of (\`npm run test:kube\`), \`connect()\` alone against 10,000 rules (\`npm run bench:rules\`), the binding (\`npm run bench:libbpf\`).`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function markdown(report: BenchReport, verdicts: readonly Verdict[]): string {
  const figures = tableRows(report.measurements, CONTENDERS);
  const targets = verdicts.map(({ target, value, met }) => [
    target.text,
    limitOf(target),
    share(value),
    met ? 'met' : '**missed**',
  ]);
  const missed = notesOn(verdicts, report);
  const sections = [
    `# Performance

Made by \`npm run bench -- --markdown docs/performance.md --svg docs/performance.svg --readme README.md\` on ${report.date.slice(0, 10)}:
${report.machine}, load average ${report.load.toFixed(1)} with what else it did; up to ${report.rounds} rounds; sidecars: ${report.sidecars.join(' and ')}.

${MEANING}

![Ratios to iptables](performance.svg)`,
    `## Targets\n\n${table(['target', 'limit', 'measured', ''], targets)}\n\n${ELSEWHERE}`,
    missed === '' ? '' : `## What is missed, and why\n\n${missed}`,
    `## Figures\n\n${table(
      ['case', 'CPUs', ...CONTENDERS],
      figures.map(({ what, placement, cells }) => [what, placement, ...cells]),
    )}`,
    promotionSection(report),
    profileSection(report),
    nodeSection(report),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

function promotionSection({ promotion }: BenchReport): string {
  if (promotion.length === 0) return '';
  const rows = promotion.map(({ connections, walksPerSecond, agentMs, programMs }) => [
    connections.toLocaleString('en'),
    ...[walksPerSecond, agentMs, programMs].map(figure),
  ]);
  return `## What idle connections cost the agent

For ten seconds of idling. Two sockets a connection are looked at in each walk ([acceleration.md](acceleration.md)).

${table(['connections', 'walks/s', "agent's CPU time, all of it, ms/s", 'of that in the program, ms/s'], rows)}`;
}

function profileSection({ profiles }: BenchReport): string {
  if (profiles.length === 0) return '';
  const rows = profiles.flatMap((profile) => [
    ...profile.programs.map(({ program, calls, ns }) => [
      profile.contender,
      profile.what,
      `\`${program}\``,
      calls.toFixed(2),
      ns.toFixed(0),
      ((calls * ns) / 1000).toFixed(2),
    ]),
    [profile.contender, profile.what, 'together', '', '', together(profile).toFixed(2)],
  ]);
  return `## What the programs cost

By the kernel's own account, which adds some tens of nanoseconds a call, on one core (\`npm run bench:programs\` has it alone).

${table(['contender', 'for', 'program', 'calls', 'ns a call', 'us'], rows)}`;
}

function nodeSection({ node }: BenchReport): string {
  if (node.length === 0) return '';
  return `## What the agent and the CLI take

The agent is the bundle, started with the flags of the image; its pods are network namespaces with a manifest each, in which no sidecar runs. A pod is enforced when its entry is in the pods map. ADD enrolls a
pod of which the agent knows the manifest, from fork to the end of the plugin. Each round did the lines from *enroll* to
*nft*, and those from *true* to *ADD*, one after the other. Commands are run from fork to the end of what they print.

${table(['of the node', 'times', 'p50', 'p99'], nodeRows(node))}`;
}
