/** Suites on kernels: runs them one after the other, and writes what came of it as a table. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as v from 'valibot';
import { TIERS, type TierState } from '../../src/datapath/tier.ts';
import { errorReport } from '../../src/errors.ts';
import { runGuest } from '../../vagrant/guest.ts';
import { kernelOf } from '../../vagrant/kernel_package.ts';
import { qemuOf } from '../../vagrant/qemu.ts';
import type { KeptRow } from './results.ts';
import type { Suite } from './suites.ts';

const CHECKOUT = join(import.meta.dirname, '..', '..');
/** The machine's own kernel, among the names of kernels. */
export const HOST = 'host';

export interface Cell {
  suite: string;
  outcome: 'passed' | 'failed' | 'not applicable';
  /** Why it failed or does not apply; what passed, in the suite's own words. */
  detail: string;
  /** All that the suite printed. */
  output: string;
  seconds: number;
}

export interface Row {
  kernel: string;
  /** Release and package version. */
  build: string;
  tier: TierState;
  cells: Cell[];
}

export interface Course {
  signal: AbortSignal;
  /** Called with a line of progress. */
  tell: (line: string) => void;
  /** Called after each suite with the row as it is by then. */
  keep: (row: Row) => void;
  /** Called with what the suites print, as it comes. */
  echo: (text: string) => void;
}

export async function runRow(
  kernel: string,
  suites: readonly Suite[],
  { signal, tell, keep, echo }: Course,
): Promise<Row> {
  const place = kernel === HOST ? hostPlace(echo) : guestPlace(kernel, tell, echo);
  const tier = await tierOf(place, signal);
  tell(`${kernel}: tier ${tier.tier}${tier.limit === null ? '' : `, no higher: ${tier.limit}`}`);
  const row: Row = { kernel, build: place.build, tier, cells: [] };
  for (const suite of suites) {
    const cell =
      tier.tier < suite.tier
        ? { outcome: 'not applicable' as const, detail: tier.limit ?? '', output: '', seconds: 0 }
        : await runSuite(suite, place, { signal, echo });
    row.cells.push({ suite: suite.name, ...cell });
    keep(row);
    tell(`${kernel} ${suite.name}: ${cell.outcome}, ${cell.detail} (${cell.seconds.toFixed(0)} s)`);
  }
  return row;
}

const TierAnswer = v.object({
  tier: v.picklist([0, 1, 2, 3]),
  name: v.string(),
  limit: v.nullable(v.string()),
});
/** A guest that does nothing but start and load: seconds, and minutes beside other work. */
const TIER_MS = 20 * 60_000;

async function tierOf(place: Place, signal: AbortSignal): Promise<TierState> {
  const { output } = await place.run({ args: ['test/vm/tier.ts'], timeoutMs: TIER_MS }, signal);
  const line = output.split('\n').findLast((each) => each.startsWith('{')) ?? '';
  try {
    return v.parse(TierAnswer, JSON.parse(line));
  } catch (cause) {
    throw new Error(`the tier is not told: ${output.trim()}`, { cause });
  }
}

interface Ended {
  exitCode: number;
  output: string;
}

interface Place {
  build: string;
  run(program: Pick<Suite, 'args' | 'timeoutMs' | 'emulated'>, signal: AbortSignal): Promise<Ended>;
}

async function runSuite(
  suite: Suite,
  place: Place,
  { signal, echo }: Pick<Course, 'signal' | 'echo'>,
): Promise<Omit<Cell, 'suite'>> {
  const startedAt = performance.now();
  const seconds = (): number => (performance.now() - startedAt) / 1000;
  try {
    const { exitCode, output } = await place.run(suite, signal);
    const absent = exitCode === 0 ? / not run: (.*)$/m.exec(output)?.[1] : undefined;
    if (absent !== undefined)
      return { outcome: 'not applicable', detail: absent, output, seconds: seconds() };
    const outcome = exitCode === 0 ? 'passed' : 'failed';
    return { outcome, detail: summaryOf(output, outcome), output, seconds: seconds() };
  } catch (error) {
    if (signal.aborted) throw error;
    const { code, message } = errorReport(error);
    echo(`${message}\n`);
    return { outcome: 'failed', detail: code, output: message, seconds: seconds() };
  }
}

/** Collects what a suite prints. */
class Transcript extends Writable {
  text = '';
  readonly #echo: Course['echo'];

  constructor(echo: Course['echo']) {
    super({ decodeStrings: false });
    this.#echo = echo;
  }

  override _write(chunk: Buffer | string, _: BufferEncoding, done: () => void): void {
    this.text += chunk;
    this.#echo(String(chunk));
    done();
  }
}

function hostPlace(echo: Course['echo']): Place {
  return {
    build: release(),
    async run(suite, signal) {
      const args = ['--conditions=source', ...suite.args];
      const child = spawn(process.execPath, args, {
        cwd: CHECKOUT,
        stdio: ['ignore', 'pipe', 'inherit'],
        signal,
        timeout: suite.timeoutMs,
      });
      const out = new Transcript(echo);
      const ended = once(child, 'exit');
      const [[exitCode]] = await Promise.all([ended, pipeline(child.stdout.setEncoding('utf8'), out)]);
      return { exitCode: exitCode ?? 1, output: out.text };
    },
  };
}

function guestPlace(name: string, tell: Course['tell'], echo: Course['echo']): Place {
  const mirror = undefined;
  const kernel = kernelOf(name, { tell });
  const qemu = qemuOf({ mirror, tell });
  return {
    build: `${kernel.release}, Debian ${kernel.version}`,
    async run({ args, timeoutMs, emulated }, signal) {
      const out = new Transcript(echo);
      const err = new Transcript((words) => void process.stderr.write(words));
      const { exitCode, complaints } = await runGuest({
        ...{ kernel, qemu, timeoutMs, out, err, signal, checkout: CHECKOUT },
        ...{ accel: 'tcg,thread=multi', cpus: 2, memoryMb: 3072 },
        command: ['node', '--conditions=source', ...args],
        env: { PATH: process.env.PATH ?? '', ...emulated },
      });
      // A suite does not pass when it hurt the kernel.
      const hurt = complaints.map((line) => `the kernel says: ${line}\n`).join('');
      const said = exitCode === 0 ? out.text : out.text + err.text;
      return { exitCode: hurt === '' ? exitCode : exitCode || 1, output: said + hurt };
    },
  };
}

/** What says most: what failed first, or what all of it came to. */
export function summaryOf(output: string, outcome: Cell['outcome']): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const kernel = lines.find((line) => line.startsWith('the kernel says: '));
  const assertion = lines.find((line) => /^\w*Error\b.*: /.test(line));
  const counts = lines
    .filter((line) => /^ℹ (pass|fail|skipped [1-9])/.test(line))
    .map((line) => line.slice(2));
  if (outcome === 'failed')
    return kernel ?? assertion?.replace(/^.*?\]: /, '') ?? lines.at(-1) ?? 'no output';
  const compared = lines.flatMap((line) => {
    const found = /\b(\d+) same, (\d+) different by choice, 0 failed$/.exec(line);
    return found === null ? [] : [[Number(found[1]), Number(found[2])] as const];
  });
  if (compared.length > 0) {
    const [same, known] = [0, 1].map((index) => compared.reduce((sum, each) => sum + (each[index] ?? 0), 0));
    return `${same} same, ${known} different by choice, 0 failed`;
  }
  return counts.length > 0 ? counts.join(', ') : (lines.at(-1) ?? '');
}

/** Why the tiers are these. */
const TIER_NOTES = [
  '## Tiers',
  '',
  ...TIERS.map(({ tier, name }) => `- **${tier}**: ${name}`),
  '',
  'Which one a node has comes out when the agent starts, and in `shunt doctor`, by loading the programs, attaching the',
  'inbound one to a network namespace made for that and running the iterator once. The version of the kernel decides one',
  'thing: one that calls itself older than 5.7 gets iptables without a try (`setarch --uname-2.6` shows it), since where none',
  "of it can load, the reason that a user reads should be the kernel's age, not an errno. `--backend ebpf` tries all the same:",
  'a distribution may have put eBPF into an older kernel. `shunt agent --max-tier N` holds a node to a lower tier;',
  '`test/e2e/tiers.test.ts` goes through all of them on one kernel, each agent taking over from the one before.',
  '',
  'What makes the difference:',
  '',
  '- `bpf_link` for cgroups and `bpf_get_netns_cookie` in connect hooks (5.7), the ring buffer and `getpeername` hooks (5.8):',
  '  without one of them tier 0. So 5.7, which could carry tier 1 by what redirects, is at tier 0.',
  '- `sk_lookup` (5.9) makes tier 2. Tier 1 is for 5.8, and for kernels whose distribution built them without it: the pods',
  '  get the inbound chain of the iptables backend and nothing else of it. Debian has no 5.8; the tier is tried by forcing.',
  "- Until 5.15 `sockops` cannot ask for a namespace's cookie. Two more builds of the program do without: `sockops_btf` reads it",
  "  from the socket through BTF (and `bpf_skc_to_tcp_sock`, 5.9), `sockops_role` has it from the sidecar's listener, which is",
  '  marked when it binds. The loader takes the first that loads; all three give the same connections',
  '  (`test/conformance/forms.test.ts`).',
  '- Until 5.14 user space cannot ask for it either (`SO_NETNS_COOKIE`). The agent then opens a socket in the namespace from a',
  '  cgroup of its own, where a program writes down what it sees; once for each namespace.',
  '- The iterator over socket storage (5.9), `sk_msg` and BTF make tier 3.',
  '',
  'Until 5.18 a getsockopt that failed came back with a buffer of zeros where programs look on; ours gives the kernel nothing',
  'to write then, so that the buffer stays as it was.',
  '',
  'Not split further: what 6.1 adds (ancestor cgroups in `getsockopt`, `set_retval`) the programs do not use, and identity is',
  'the same from 5.9 on.',
  '',
];

/** @param rows in the table's order */
export function markdown(rows: readonly KeptRow[], suites: readonly Suite[]): string {
  const names = suites.map(({ name }) => name);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const escaped = (words: string): string =>
    words.replaceAll('|', '\\|').replace(/\s+/g, ' ').replace(/[<>]/g, '').slice(0, 160);
  const cell = (row: KeptRow, name: string): string => {
    const found = row.cells.find(({ suite }) => suite === name);
    if (found === undefined) return 'not run';
    const { outcome, detail } = found;
    return `${outcome}${detail === '' ? '' : `: ${escaped(detail)}`}`;
  };
  const dates = [...new Set(rows.flatMap(({ cells }) => cells.map(({ on }) => on)))].sort();
  return [
    '# Kernels',
    '',
    'What runs on which kernel. `npm run test:matrix` makes this page: each suite in an emulated machine of its own',
    '(`npm run vm`, [below](#guests)), with the kernel as Debian builds it, and on the machine that runs it. Not',
    'applicable: the kernel carries only a lower [tier](#tiers). Not run: not yet, on that build.',
    '',
    `Run on ${[...new Set([dates[0], dates.at(-1)])].join(' to ')}.`,
    '',
    line(['kernel', 'build', 'tier', ...names]),
    line(['---', '---', '---', ...names.map(() => '---')]),
    ...rows.map((row) =>
      line([row.kernel, row.build, String(row.tier.tier), ...names.map((name) => cell(row, name))]),
    ),
    '',
    ...TIER_NOTES,
    '## Guests',
    '',
    '```sh',
    'npm run vm -- --kernel 5.10 --kernel newest -- uname -r     # the checkout, as root, on other kernels',
    'npm run test:matrix -- --kernels 5.10,6.1 --suites load     # some kernels, some suites',
    '```',
    '',
    "A guest sees this machine's files read-only over virtio-fs, under a tmpfs: what it writes goes with it, and",
    'nothing has to be installed in it. It has no network but its own. The kernels are packages of the mirror in the',
    "machine's own apt sources, verified by apt in a state directory of its own, and kept in `.cache/vm`; they stay",
    'until `npm run vm -- --update`. 6.18 is in no release of Debian: it is the last build that the backports of trixie had',
    'of it, and kept. QEMU 7.2 emulates `cmpxchg16b` with wrong flags, which kernels since 6.12 die of',
    'at random: where the machine has none >= 10, that of its backports is unpacked beside the kernels.',
    '',
    'Two suites are bounded, with the same checks: in a guest the crowd of faithful has 200 connections instead of 2000, and',
    'integrity plays each scenario once a round instead of six times, under HAProxy alone.',
    '',
    "`npm test` runs load, identity and Istio's conformance on 6.1 as well, a few minutes. Where the guest cannot be had (no mirror,",
    'no QEMU) that one test is skipped with the reason.',
    '',
    'Where the machine has no working eBPF, `npm test` has the guest run what needs it, as far as that ends: the library, the',
    'data plane, conformance and containment (`CORE` in `.ci/guest.mjs`): some 850 tests, three quarters of an hour. What is left, whole agents and',
    'proxies under load, it names and counts as skipped: 20 to 30 times slower, all of it would take most of a day.',
    '`npm test -- --file PATH` runs one of those in the guest. A guest that cannot be had is a failure then.',
    '',
  ].join('\n');
}
