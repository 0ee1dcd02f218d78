/**
 * The demo's scenarios with an agent that comes to iptables in one way. Run as a program it does one way and prints what
 * came of it as JSON: `iptables_way.ts PREFIX BPFFS [CLI…]`.
 */
import { join } from 'node:path';
import { AgentProcess } from '../../src/cli/demo/agent_process.ts';
import type { Bed } from '../../src/cli/demo/bed.ts';
import { removeAgentRules } from '../../src/cli/demo/pins.ts';
import type { Row } from '../../src/cli/demo/row.ts';
import { runScenarios } from '../../src/cli/demo/run.ts';
import { Pins } from '../../src/datapath/ebpf/pins.ts';
import { rulesOf } from '../../src/lab/iptables.ts';
import { Lab, OTHER_PORT } from '../../src/lab/lab.ts';
import { CLI, type CliResult, runCli } from '../fixtures/cli.ts';

export interface Way {
  /** Of the lab. */
  prefix: string;
  bpffs: string;
  /** How the agent is run. */
  cli: readonly [string, ...string[]];
  /** Given to the agent; `auto` where not. */
  backend?: 'iptables' | undefined;
}

export interface Outcome {
  rows: Row[];
  /** Why the agent has its backend, as it says. */
  told: string;
  /** What `shunt explain` said of an excluded port. */
  explained: CliResult;
  /** Names of what was pinned. */
  pinned: string[];
  /** Every rule left in the pods at the end. */
  remains: string;
}

export async function runWay({ prefix, bpffs, cli, backend }: Way): Promise<Outcome> {
  const pods = ['a', 'b'].map((name) => ({
    name,
    capture: 'shunt' as const,
    excludeOutboundPorts: name === 'a' ? [OTHER_PORT] : [],
  }));
  await using lab = await Lab.open({ prefix, sidecar: 'haproxy', pods });
  const socket = join(lab.folder, 'agent.sock');
  await using agent = await AgentProcess.start({ cli, lab, socket, bpffs, backend });
  const told = (await agent.client.status()).backendReason;
  const asked = ['explain', 'pod-a', '--to', `${lab.outside.address(4)}:${OTHER_PORT}`, '--uid', '1000'];
  const explained = await runCli([...asked, '--socket', socket, '-o', 'json']);
  const bed: Bed = {
    lab,
    a: lab.pod('a'),
    b: lab.pod('b'),
    outside: lab.outside,
    backend: 'iptables',
    agent,
  };
  const rows: Row[] = [];
  for await (const row of runScenarios(bed)) rows.push(row);
  const pins = new Pins(bpffs);
  const pinned = [...pins.mapNames(), ...pins.linkNames()];
  await removeAgentRules(lab, { cli: CLI, socket, bpffs });
  let remains = '';
  for (const pod of lab.pods.values()) remains += await rulesOf(pod.netns);
  return { rows, told, explained, pinned, remains };
}

if (import.meta.main) {
  const [prefix = '', bpffs = ''] = process.argv.slice(2);
  process.stdout.write(JSON.stringify(await runWay({ prefix, bpffs, cli: CLI })));
}
