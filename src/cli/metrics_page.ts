/** Writes docs/metrics.md from the table of metrics: `node --conditions=source src/cli/metrics_page.ts`. */
import { writeFileSync } from 'node:fs';
import { METRICS } from '../observe/metric_list.ts';

export const METRICS_PAGE = new URL('../../docs/metrics.md', import.meta.url);

const HEAD = `# Metrics and health

\`shunt agent --metrics HOST:PORT\` serves four paths over plain HTTP; without the option nothing is served. \`127.0.0.1:15090\` keeps them
to the node, \`:15090\` answers on every address. They tell counts and names of maps, nothing of single pods, and take no input; there is no
authentication. An address that is taken, or is not the host's, ends the agent with \`SHUNT_E_METRICS_LISTEN\` before it has touched anything.

| path | 200 when | 503 says |
|---|---|---|
| \`/metrics\` | always, once the data plane is loaded | that the agent is starting |
| \`/startupz\` | the data plane is loaded, or adopted from an earlier agent | what is missing |
| \`/readyz\` | the first pass over all pods has ended, and the agent is not stopping | which of the two |
| \`/livez\` | no pass has run for more than 120 s, and one was begun within the last reconcile interval + 120 s | for how long it is stuck |

An event loop that is stuck answers nothing at all: the probe's own time-out takes that as failed. What the agent has put in force goes on
while it is restarted.

## What the numbers are

Counters of connections are the kernel's own, per pod and CPU, read in batches at each scrape and summed over the pods. They outlive the agent:
a restart does not set them back, what happened while no agent ran is in them, and a pod that is withdrawn leaves its sums behind. \`shunt cleanup\`
sets them to 0. Counters of events, watches, CNI calls, drift and reconciles begin with the process. A pod that iptables enforces has no counters of connections:
where the whole node runs iptables those metrics have no sample, which is not the same as 0.

No label holds the name of a pod: \`shunt pod get POD\` shows a pod's own counters.

**\`shunt_bypass_total\` is to stay 0.** A rule that lets a connection pass (an excluded port, the sidecar's own) is no bypass, and where something
is missing (a listener, a policy, memory for the original destination) a connection is refused. What is left, and counted:

- \`established-before\`: connections that a pod had when it was enrolled, of either direction, which its policy would have captured. Neither backend
  touches an established connection. Those that the mesh's own rules had redirected already do not count. Also looked for when drift of a pod was
  repaired. The pod's name is in the log line \`{"event": "bypass"}\`.
- \`query-no-memory\`: DNS queries over UDP that the kernel had no memory to remember the resolver of, sent on as they were.

Opting out is no bypass either; such pods are \`shunt_pods{state="left"}\`. Pods without protection although they want it are
\`shunt_pods{state="failed",backend="none"}\`.

## Metrics

| name | type | labels | |
|---|---|---|---|
`;

/** The page as it should stand in docs/. */
export function renderMetricsPage(): string {
  const rows = Object.entries(METRICS).map(([name, { type, help, labels }]) => {
    const shown = Object.entries<readonly string[] | string>(labels).map(([label, values]) =>
      typeof values === 'string'
        ? `\`${label}\` ${values}`
        : `\`${label}\`: ${values.map((value) => `\`${value}\``).join(', ')}`,
    );
    return `| \`${name}\` | ${type} | ${shown.join('; ')} | ${help} |\n`;
  });
  return HEAD + rows.join('');
}

if (import.meta.main) writeFileSync(METRICS_PAGE, renderMetricsPage());
