#!/usr/bin/env node
/** `npm run vm`: a command of this checkout on another kernel, in a guest that takes seconds to start. */
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { errorReport, ShuntError } from '../src/errors.ts';
import { runGuest } from './guest.ts';
import { KERNELS, kernelOf } from './kernel_package.ts';
import { qemuOf } from './qemu.ts';

const CHECKOUT = dirname(import.meta.dirname);
const USAGE = `usage: npm run vm -- --kernel ${Object.keys(KERNELS).join('|')} [options] -- COMMAND...

Runs COMMAND as root in the checkout, in an emulated machine with that kernel of Debian's. The guest sees this
machine's files; what it writes is gone with it. Gives the command's exit code; 124 after --timeout, 125 when the
guest did not come so far, 128 + n when signal n ended it.

  --kernel K      repeat it to run on several, one after the other; the first exit code other than 0 is given
  --env NAME=V    set in the guest; repeatable
  --cpus N        default 2
  --memory MB     default 2048
  --timeout S     for each guest; default 600
  --accel A       QEMU's accelerator; default tcg (software emulation), kvm where it works
  --mirror URL    a Debian mirror; default: the one in this machine's apt sources
  --update        look for a newer build of the kernel than the one in .cache/vm
`;
const FAILED = 125;
const TIMED_OUT = 124;

interface Settings {
  kernels: string[];
  command: string[];
  env: Record<string, string>;
  cpus: number;
  memoryMb: number;
  timeoutMs: number;
  accel: string;
  mirror: string | undefined;
  update: boolean;
}

/** @throws SHUNT_E_USAGE */
function settingsOf(args: string[]): Settings | undefined {
  const split = args.indexOf('--');
  const [ours, command] = split < 0 ? [args, []] : [args.slice(0, split), args.slice(split + 1)];
  const { values, positionals } = parsed(ours);
  if (values.help) return undefined;
  const usage = (detail: string): ShuntError =>
    new ShuntError('SHUNT_E_USAGE', detail, { fix: 'npm run vm -- --help' });
  const positive = (name: 'cpus' | 'memory' | 'timeout'): number => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value > 0) return value;
    throw usage(`--${name} takes a whole number above 0, not ${values[name]}`);
  };
  if (positionals.length > 0) throw usage(`the command comes after --: -- ${positionals.join(' ')}`);
  if (command.length === 0) throw usage('there is no command; it comes after --');
  if (values.kernel.length === 0) throw usage('--kernel is needed');
  const env = values.env.map((each): [string, string] => {
    const match = /^([A-Za-z_]\w*)=([\s\S]*)$/.exec(each);
    if (match === null) throw usage(`--env takes NAME=VALUE, not ${each}`);
    return [match[1] ?? '', match[2] ?? ''];
  });
  return {
    kernels: values.kernel,
    command,
    env: { PATH: process.env.PATH ?? '', ...Object.fromEntries(env) },
    cpus: positive('cpus'),
    memoryMb: positive('memory'),
    timeoutMs: positive('timeout') * 1000,
    accel: values.accel,
    mirror: values.mirror,
    update: values.update,
  };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        kernel: { type: 'string', multiple: true, default: [] },
        env: { type: 'string', multiple: true, default: [] },
        cpus: { type: 'string', default: '2' },
        memory: { type: 'string', default: '2048' },
        timeout: { type: 'string', default: '600' },
        accel: { type: 'string', default: 'tcg,thread=multi' },
        mirror: { type: 'string' },
        update: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (cause) {
    throw new ShuntError('SHUNT_E_USAGE', (cause as Error).message, { fix: 'npm run vm -- --help', cause });
  }
}

async function runOn(name: string, settings: Settings, signal: AbortSignal): Promise<number> {
  const tell = (line: string): void => void process.stderr.write(`vm: ${line}\n`);
  const kernel = kernelOf(name, { mirror: settings.mirror, update: settings.update, tell });
  const qemu = qemuOf({ mirror: settings.mirror, tell });
  tell(`${kernel.release} (Debian ${kernel.version}), QEMU ${qemu.version}, ${settings.cpus} CPUs`);
  const streams = { out: process.stdout, err: process.stderr };
  const result = await runGuest({ ...settings, ...streams, kernel, qemu, checkout: CHECKOUT, signal });
  for (const line of result.complaints) tell(`the kernel says: ${line}`);
  tell(`up after ${result.bootSeconds} s, exit code ${result.exitCode}`);
  return result.exitCode;
}

async function main(): Promise<number> {
  const settings = settingsOf(process.argv.slice(2));
  if (settings === undefined) {
    process.stdout.write(USAGE);
    return 0;
  }
  const stop = new AbortController();
  let stoppedBy: NodeJS.Signals | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      stoppedBy = signal;
      stop.abort();
    });
  let code = 0;
  for (const name of settings.kernels) {
    try {
      const ended = await runOn(name, settings, stop.signal);
      if (code === 0) code = ended;
    } catch (error) {
      if (stoppedBy !== undefined) return 128 + constants.signals[stoppedBy];
      throw error;
    }
  }
  return code;
}

try {
  process.exitCode = await main();
} catch (error) {
  const { code, message, fix } = errorReport(error);
  process.stderr.write(`error: ${message} [${code}]\nfix: ${fix}\n`);
  process.exitCode = code === 'SHUNT_E_USAGE' ? 2 : code === 'SHUNT_E_VM_TIMEOUT' ? TIMED_OUT : FAILED;
}
