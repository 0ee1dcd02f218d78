import { Command, CommanderError, InvalidArgumentError, Option, type OptionValues } from 'commander';
import {
  DEFAULT_BPFFS,
  DEFAULT_CNI_BIN_DIR,
  DEFAULT_CNI_NET_DIR,
  DEFAULT_CNI_SOCKET,
  DEFAULT_SOCKET,
} from '../agent/api.ts';
import { TIERS } from '../datapath/tier.ts';
import { ShuntError } from '../errors.ts';
import { VERSION } from '../version.ts';
import { type Context, contextOf } from './context.ts';
import { EXIT, tellFailure } from './failure.ts';
import type { Io } from './io.ts';
import { FORMATS, type Format } from './output/writer.ts';

/** One command: gets its arguments, and gives the exit code where it is not 0. */
type Run = (context: Context, args: string[], options: OptionValues) => Promise<number | undefined>;

/**
 * Runs one command line and gives its exit code: 0 done, 1 failed, 2 the command line is wrong.
 *
 * @param argv arguments after the program's name
 */
export async function runProgram(argv: string[], io: Io): Promise<number> {
  let code: number = EXIT.ok;
  const program = buildProgram(io, (given) => {
    code = given;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) return tellFailure(io, askedFormat(argv), error);
    // Help and version that were asked for end with 0 and are printed by then.
    if (error.exitCode === 0) return EXIT.ok;
    // `shunt` or `shunt map` alone: commander has shown the commands.
    if (error.code === 'commander.help') return EXIT.usage;
    const message = error.message.replace(/^error: /, '').replace(/\n\(([^)]*)\)/, ' ($1)');
    return tellFailure(io, askedFormat(argv), new ShuntError('SHUNT_E_USAGE', message));
  }
}

/** The format asked for, also in a command line that is wrong elsewhere. */
function askedFormat(argv: string[]): Format {
  const at = argv.findIndex((word) => /^(-o|--output)/.test(word));
  const word = argv[at] ?? '';
  const value = word === '-o' || word === '--output' ? argv[at + 1] : word.replace(/^(-o=?|--output=)/, '');
  return FORMATS.find((format) => format === value) ?? 'table';
}

function buildProgram(io: Io, exit: (code: number) => void): Command {
  const does = (run: Run) =>
    async function (this: Command): Promise<void> {
      const options = this.optsWithGlobals();
      exit((await run(contextOf(io, options), this.args, options)) ?? EXIT.ok);
    };

  const program = new Command('shunt')
    .description('Redirects the traffic of sidecar service meshes with eBPF, on this node.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text),
      writeErr: (text) => io.err(text),
      outputError: () => {},
    })
    .configureHelp({ showGlobalOptions: true })
    .addOption(new Option('-o, --output <format>', 'form of the output').choices(FORMATS).default('table'))
    .option('--socket <path>', `the agent's unix socket (env SHUNT_SOCKET; default ${DEFAULT_SOCKET})`)
    .option('--bpffs <path>', `BPF file system of the pins (env SHUNT_BPFFS; default ${DEFAULT_BPFFS})`)
    .version(VERSION, '-V, --version', 'print the version')
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 the command line is wrong.');

  program.commandsGroup('Run:');
  program
    .command('demo')
    .description('two pods with real sidecars, here, now: redirection, original destinations, latency')
    .addOption(new Option('--sidecar <proxy>', 'which proxy to run').choices(['envoy', 'haproxy']))
    .addOption(
      new Option('--backend <name>', 'how to redirect').choices(['ebpf', 'iptables']).default('ebpf'),
    )
    .option('--keep', 'leave it running and print commands to try')
    .option('--no-latency', 'leave out the comparison with iptables')
    .action(does(async (context, _, options) => (await import('./demo.ts')).demo(context, options)));
  program
    .command('bench')
    .description('what redirection costs on this node, beside iptables and no redirection at all')
    .addOption(
      new Option('--sidecar <proxy>', 'which proxy to run').choices(['envoy', 'haproxy']).default('haproxy'),
    )
    .option('--rounds <n>', 'samples of each case', positiveInteger, 7)
    .action(does(async (context, _, options) => (await import('./bench.ts')).bench(context, options)));
  program
    .command('agent')
    .description('enroll the pods of this node and keep them enrolled')
    .option('--pods <path>', 'file or directory of Pod manifests, watched')
    .option('--kubeconfig <file>', 'pods of the Kubernetes API server; "in-cluster": as this pod')
    .option('--node-name <name>', 'this node in the cluster (default: $NODE_NAME)')
    .addOption(
      new Option('--repair <mode>', "pods whose mesh's validator failed before they were enrolled")
        .choices(['off', 'event', 'delete'])
        .default('event'),
    )
    .option('--config <file>', 'settings of the meshes (YAML or JSON), watched')
    .option('--cni-socket <path>', 'serve the CNI plugin on this unix socket')
    .option('--cni-net-dir <dir>', 'keep the plugin in the chain of these network configurations')
    .option('--cni-bin-dir <dir>', `directory of CNI plugins (default ${DEFAULT_CNI_BIN_DIR})`)
    .option('--cni-own-pods <ns/prefix>', "the agent's own pods, which pass without it")
    .option('--cgroup <path>', 'cgroup2 directory above all pods (default: kubepods, where it exists)')
    .addOption(
      new Option('--backend <name>', 'how to redirect').choices(['auto', 'ebpf', 'iptables']).default('auto'),
    )
    .option('--compile', "build the eBPF programs with this node's clang first")
    .addOption(
      new Option('--acceleration <state>', 'short-circuit sockets').choices(['on', 'off']).default('on'),
    )
    .option('--max-tier <n>', 'go no further than this tier, 0 to 3 (default 3; see docs/kernels.md)', tier)
    .option('--max-pods <n>', 'pods the maps have room for (default 512)', positiveInteger)
    .option('--max-policies <n>', 'different policies the maps have room for (default 512)', positiveInteger)
    .option('--metrics <host:port>', 'serve /metrics, /livez, /readyz and /startupz here (default: nowhere)')
    .option(
      '--reconcile-interval <seconds>',
      'compare with the kernel this often (default 60)',
      positiveInteger,
    )
    .action(does(async (context, _, options) => (await import('./agent.ts')).agent(context, options)));

  program.commandsGroup('Look:');
  program.helpCommand('help [command]', 'this help, or that of a command');
  program
    .command('status')
    .description('what is attached, which pods, what drifted')
    .action(does(async (context) => (await import('./status.ts')).status(context)));
  program
    .command('doctor')
    .description('check every prerequisite: ok, warn or fail, and one fix each')
    .option('--canary', 'try on sockets of its own whether this kernel can accelerate')
    .action(
      does(async (context, _, options) => (await import('./doctor/doctor.ts')).doctor(context, options)),
    );

  const pod = program.command('pod').description('pods of this node');
  pod
    .command('list')
    .description('enrolled pods and those left alone; from the pins when no agent runs')
    .action(does(async (context) => (await import('./pod.ts')).listPods(context)));
  pod
    .command('get')
    .argument('<pod>', 'name, namespace/name or netns cookie')
    .description('one pod in full')
    .action(does(async (context, args) => (await import('./pod.ts')).getPod(context, args)));

  program
    .command('policy')
    .description('what a mesh wants done to a pod')
    .command('show')
    .argument('[pod]', 'name or namespace/name of a pod that the agent knows')
    .option('-f, --file <file>', 'read Pod manifests from a file, or from stdin with -')
    .option('--config <file>', 'settings of the meshes, with -f')
    .option('--rules', 'its rules in words, in the order in which the mesh tries them')
    .description("the pod's redirect policy, or why it is left alone or rejected")
    .action(
      does(async (context, args, options) =>
        (await import('./policy.ts')).showPolicy(context, args, options),
      ),
    );

  program
    .command('explain')
    .argument('[pod]', 'name or namespace/name of a pod that the agent knows')
    .option('-f, --file <file>', 'read Pod manifests from a file, or from stdin with -')
    .option('--config <file>', 'settings of the meshes, with -f')
    .option('--to <ip:port>', 'where a process of the pod connects to')
    .option('--uid <uid>', 'of that process')
    .option('--gid <gid>', 'of that process (default: as its uid)')
    .option('--from <ip>', 'source: bound by the process, or of the peer with --inbound')
    .option('--udp', 'UDP in place of TCP')
    .option('--inbound', 'a connection that comes to the pod')
    .option('--port <n>', 'which port it comes to, with --inbound')
    .description('what becomes of one connection, and by which rule')
    .action(
      does(async (context, args, options) => (await import('./explain.ts')).explain(context, args, options)),
    );

  program
    .command('iptables')
    .description('the iptables backend')
    .command('render')
    .requiredOption('-f, --file <file>', 'read Pod manifests from a file, or from stdin with -')
    .option('--config <file>', 'settings of the meshes, with -f')
    .addOption(new Option('--family <family>', 'only one address family').choices(['ipv4', 'ipv6']))
    .description("the iptables-restore documents of a pod's policy; applies nothing")
    .action(
      does(async (context, _, options) => (await import('./iptables.ts')).renderIptables(context, options)),
    );

  const map = program.command('map').description('pinned maps, decoded; works with no agent running');
  map
    .command('list')
    .description('every pinned map and how full it is')
    .action(does(async (context) => (await import('./map.ts')).listMaps(context)));
  map
    .command('dump')
    .argument('<map>', 'name of its pin')
    .description('every entry of a map')
    .action(does(async (context, args) => (await import('./map.ts')).dumpMap(context, args)));
  map
    .command('get')
    .argument('<map>', 'name of its pin')
    .argument('<key>', 'a number, a JSON object, or hex bytes (0x…)')
    .description('one entry of a map')
    .action(does(async (context, args) => (await import('./map.ts')).getEntry(context, args)));

  program
    .command('link')
    .description('pinned attachments')
    .command('list')
    .description('every pinned link and what it is attached to')
    .action(does(async (context) => (await import('./link.ts')).listLinks(context)));
  program
    .command('prog')
    .description('loaded programs')
    .command('list')
    .description("every program of Shunt's in the kernel")
    .action(does(async (context) => (await import('./prog.ts')).listPrograms(context)));
  program
    .command('version')
    .description('versions of shunt and of what it runs on')
    .action(does(async (context) => (await import('./version.ts')).version(context)));

  const cni = program.command('cni').description("the plugin in the chain of this node's network");
  const chained = (verb: string): Command =>
    cni
      .command(verb)
      .option('--net-dir <dir>', `network configurations of the runtime (default ${DEFAULT_CNI_NET_DIR})`)
      .option('--bin-dir <dir>', `directory of CNI plugins (default ${DEFAULT_CNI_BIN_DIR})`)
      .option('--cni-socket <path>', `the agent's socket for the plugin (default ${DEFAULT_CNI_SOCKET})`);
  chained('install')
    .option('--config <file>', 'settings of the meshes: the namespaces they exclude pass without an agent')
    .option('--own-pods <ns/prefix>', "the agent's own pods, which pass without it")
    .description('copy the plugin and put it behind the primary one')
    .action(does(async (context, _, options) => (await import('./cni.ts')).installCni(context, options)));
  chained('uninstall')
    .description('take the plugin out; an agent that watches does not put it back')
    .action(does(async (context, _, options) => (await import('./cni.ts')).uninstallCni(context, options)));
  chained('status')
    .description('is the plugin in the chain, and could it serve (exit 1 when not)')
    .action(does(async (context, _, options) => (await import('./cni.ts')).cniStatus(context, options)));

  program.commandsGroup('Remove:');
  program
    .command('cleanup')
    .description('stop the agent and take everything of Shunt out of the kernel')
    .option('--dry-run', 'only list what would be removed')
    .option('--verify', 'remove nothing; prove that nothing is left (exit 1 when something is)')
    .action(does(async (context, _, options) => (await import('./cleanup.ts')).cleanup(context, options)));
  return program;
}

/** Which tiers there are is what the option's users have to know. */
function tier(text: string): number {
  if (!/^[0-3]$/.test(text)) {
    throw new InvalidArgumentError(
      `It is to be one of ${TIERS.map(({ tier, name }) => `${tier} (${name})`).join(', ')}.`,
    );
  }
  return Number(text);
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 0x7fff_ffff) {
    throw new InvalidArgumentError('It is to be a whole number from 1.');
  }
  return value;
}
