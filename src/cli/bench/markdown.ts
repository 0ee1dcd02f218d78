/** docs/performance.md, from one run. */
import { CONTENDERS } from './contenders.ts';
import { type BenchReport, limitOf, tableRows } from './report.ts';
import type { Verdict } from './targets.ts';

/** What every figure below means; written once, here. */
const MEANING = `Everything ran in one go and in turn: in each round every contender once, in an order that moves on, on the same
machine, with real pods, real proxies and real rules. A figure is the median over the rounds. In brackets stand the
median of the rounds' ratios to iptables REDIRECT (Istio's rules, nft), and the tenth and ninetieth percentile of these
ratios: what the machine did meanwhile met both. *direct* has no sidecar and no redirection. *redirect* is Shunt with
acceleration off for the pod, *accelerated* Shunt as it is by default. "One core" binds the caller, the sidecars and the
server to one CPU, where no wake-up of another CPU hides the difference. CPU is what all of these used for one round
trip.`;

export function markdown(report: BenchReport, verdicts: readonly Verdict[]): string {
  const rows = tableRows(report.measurements, CONTENDERS);
  const table = [
    `| case | CPUs | ${CONTENDERS.join(' | ')} |`,
    `|---|---|${CONTENDERS.map(() => '---|').join('')}`,
    ...rows.map(({ what, placement, cells }) => `| ${what} | ${placement} | ${cells.join(' | ')} |`),
  ];
  const targets = [
    '| target | limit | measured | |',
    '|---|---|---|---|',
    ...verdicts.map(
      ({ target, value, met }) =>
        `| ${target.text} | ${limitOf(target)} | ${value.toFixed(2)} | ${met ? 'met' : '**missed**'} |`,
    ),
  ];
  return `# Performance

Made by \`npm run bench -- --markdown docs/performance.md --svg docs/performance.svg\` on ${report.date.slice(0, 10)}:
${report.machine}; ${report.rounds} rounds; sidecars: ${report.sidecars.join(' and ')}.

${MEANING}

![Ratios to iptables](performance.svg)

## Targets

${targets.join('\n')}

## What is missed, and why

- **Round trips.** Of the six hand-overs of a round trip (application, sidecar, sidecar, application, and back) two are accelerated by default on kernels where the
  canary finds that a sockhash hides unread bytes from an application (\`FIONREAD\`), four where it does not, six with \`shunt.dev/acceleration: full\`
  ([acceleration.md](acceleration.md)). The targets were set for all of them. What is safe comes first; the next step is a kernel, or a hook, on which application
  sockets may enter. To a host outside nothing of a default path is accelerated: that figure is redirection alone.
- **Application to sidecar.** For the same reason this hop goes by TCP here.
- **Short connections.** By the kernel's own account (\`npm run bench:programs\`) the programs take some 15 us of a connection through two sidecars, 29 us where it might be
  accelerated: a third of it in \`connect4\` (three calls of 2 us: lookups in cold maps, and the source that is bound), the rest nearly all in \`sockops\`, which the kernel calls 31 times
  for it, and 51 times where it might be accelerated. Next: to pair connections only once they have lived, and to ask no list that is empty.

## Figures

${table.join('\n')}
`;
}
