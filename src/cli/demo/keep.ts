import { APP_PORT } from '../../lab/host.ts';
import type { Io } from '../io.ts';
import { dress } from '../output/table.ts';
import { type AgentProcess, agentArguments } from './agent_process.ts';
import type { Bed } from './bed.ts';

export interface KeepOptions {
  /** How the CLI is run. */
  cli: readonly string[];
  socket: string;
  bpffs: string;
}

/** Commands to try while the demo stays: they are what the table showed, by hand. */
export function commandsToTry(
  bed: Bed,
  agent: AgentProcess,
  { cli, socket, bpffs }: KeepOptions,
): [string, string[]][] {
  const { a, b, outside, lab } = bed;
  const curl = (host: string) => a.commandLine(['curl', '-s', `http://${host}:${APP_PORT}/`]);
  const at = defaultsLeftOut(socket, bpffs);
  const start = agentArguments(lab, socket, bpffs, bed.backend);
  const rules = [a, b].map((pod) => `nsenter --net=${pod.netns.path} sh -c 'iptables-save; ip6tables-save'`);
  return [
    ['in another terminal, as root: a name for this CLI', [`shunt() { ${cli.map(quoted).join(' ')} "$@"; }`]],
    [bed.backend === 'ebpf' ? 'no iptables rule in either pod' : 'the rules in either pod', rules],
    [
      'what the agent holds',
      [
        `shunt status${at}`,
        `shunt pod list${at}`,
        ...(bed.backend === 'ebpf' ? [`shunt map dump pods -o json${at}`] : []),
      ],
    ],
    ['from pod a to pod b, through both sidecars', [curl(b.address(4))]],
    ['from pod a to the outside host', [curl(outside.address(4))]],
    ['kill the agent; then the curls above still work', [`kill -9 ${agent.pid}`]],
    ['start it again: it adopts what is in force', [`shunt ${start.join(' ')}`]],
    ['take Shunt off the node, and prove it', [`shunt cleanup${at} && shunt cleanup --verify${at}`]],
    ['logs and manifests', [`ls ${lab.folder} ${lab.manifests}`]],
  ];
}

/** A word of a POSIX shell. */
function quoted(word: string): string {
  return /^[\w./=:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function defaultsLeftOut(socket: string, bpffs: string): string {
  const given: string[] = [];
  if (socket !== '/run/shunt/agent.sock') given.push('--socket', socket);
  if (bpffs !== '/sys/fs/bpf') given.push('--bpffs', bpffs);
  return given.length === 0 ? '' : ` ${given.join(' ')}`;
}

export function printCommands(commands: [string, string[]][], io: Io): void {
  for (const [title, lines] of commands) {
    io.out(
      `\n${dress(`# ${title}`, 'dim', io.colour.out)}\n${lines.map((command) => `${command}\n`).join('')}`,
    );
  }
}

/** Resolves when the signal aborts. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    // A timer keeps the process alive: a signal handler alone does not.
    const alive = setInterval(() => {}, 60_000);
    const end = (): void => {
      clearInterval(alive);
      resolve();
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
