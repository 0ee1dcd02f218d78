/**
 * One guest: started, its output passed on as it comes, its exit code given, and nothing of it left. Both processes
 * die with this one, however it dies (PR_SET_PDEATHSIG).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ShuntError } from '../src/errors.ts';
import { initramfs, quoted } from './initramfs.ts';
import type { Kernel } from './kernel_package.ts';
import { type Qemu, virtiofsd } from './qemu.ts';

const CONSOLE_LINES = 25;
const DAEMON_START_MS = 10_000;
/** Seconds on a machine of its own, most of a minute on a busy one. */
const BOOT_MS = 240_000;
/** All that QEMU emulates, but for promises of fast `rep movsb`: kernel and libc would copy byte by byte, three times as slow. */
const CPU = 'max,-erms,-fsrm';
/** What the kernel prints when something of ours hurt it. */
const COMPLAINT = /\b(BUG|WARNING|INFO: rcu|Oops|Kernel panic|general protection|soft lockup)\b/;

export interface GuestOptions {
  kernel: Kernel;
  qemu: Qemu;
  /** The program and its arguments; runs as root in `checkout`. */
  command: readonly string[];
  /** Besides PATH and HOME. */
  env: Readonly<Record<string, string>>;
  checkout: string;
  accel: string;
  cpus: number;
  memoryMb: number;
  timeoutMs: number;
  out: NodeJS.WritableStream;
  err: NodeJS.WritableStream;
  /** Ends the guest. */
  signal: AbortSignal;
}

export interface GuestResult {
  /** The command's. */
  exitCode: number;
  /** From the kernel's start to the command's. */
  bootSeconds: number;
  /** Lines of the kernel's log that tell of a fault; empty when all was well. */
  complaints: string[];
}

/**
 * Boots a guest and waits for its command.
 *
 * QEMU that emulates several CPUs dies of an assertion now and then, while the guest sets its devices up
 * (`iotlb_to_section`): a guest that dies, or hangs, before its command has begun is started once more.
 *
 * @throws SHUNT_E_VM_TIMEOUT, SHUNT_E_VM_BOOT (it died before the command ended), SHUNT_E_VM_QEMU; the signal's reason
 */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const first = await bootGuest(options);
  if (!('died' in first)) return first;
  const last = first.hasBegun ? first : await bootGuest(options);
  if (!('died' in last)) return last;
  throw new ShuntError('SHUNT_E_VM_BOOT', `the guest died; its console last:\n${last.died}`, {
    target: options.kernel.release,
  });
}

/** What the guest says when its command begins. */
const UP = /^up ([\d.]+)$/m;

interface Death {
  /** What was said last. */
  died: string;
  /** Whether the command had been started. */
  hasBegun: boolean;
}

async function bootGuest(options: GuestOptions): Promise<GuestResult | Death> {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-vm-'));
  const at = (name: string): string => join(folder, name);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(folder, { recursive: true }));
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = AbortSignal.any([options.signal, deadline]);

  const initrd = at('initrd');
  writeFileSync(initrd, initramfs(options.kernel, jobScript(options), options.checkout));

  let control = '';
  const begun = Promise.withResolvers<true>();
  const ports = [
    stack.use(await port(at('out'), (data) => options.out.write(data))),
    stack.use(await port(at('err'), (data) => options.err.write(data))),
    stack.use(
      await port(at('control'), (data) => {
        control += data;
        if (UP.test(control)) begun.resolve(true);
      }),
    ),
  ];
  const daemon = stack.use(await startDaemon(folder, at('files'), signal));
  const qemu = stack.use(new Child(qemuCommand(options, folder, initrd, at('files')), at('qemu.log')));
  const ended = Promise.race([qemu.ended, aborted(signal)]).then(() => true);
  const isHung = !(await Promise.race([ended, begun.promise, after(BOOT_MS, stack)]));
  if (!isHung) await ended;
  if (!signal.aborted && !isHung) await Promise.all(ports.map(({ drained }) => drained));

  const log = existsSync(at('console')) ? readFileSync(at('console'), 'utf8') : '';
  const lines = log.split(/\r?\n/).filter((line) => line.trim() !== '');
  const last = [qemu.log(), daemon.log(), ...lines.slice(-CONSOLE_LINES)].filter(Boolean).join('\n');
  if (options.signal.aborted) throw options.signal.reason;
  if (deadline.aborted)
    throw new ShuntError(
      'SHUNT_E_VM_TIMEOUT',
      `not done after ${options.timeoutMs / 1000} s; its console last:\n${last}`,
      { target: options.kernel.release },
    );
  const exitCode = /^exit (\d+)$/m.exec(control)?.[1];
  const up = UP.exec(control)?.[1];
  if (exitCode === undefined) {
    const hung = isHung ? `it did not come up within ${BOOT_MS / 1000} s\n` : '';
    return { died: hung + last, hasBegun: up !== undefined };
  }
  return {
    exitCode: Number(exitCode),
    bootSeconds: Number(up),
    complaints: lines.filter((line) => COMPLAINT.test(line)),
  };
}

function jobScript({ command, env, checkout }: GuestOptions): string {
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${quoted(value)}\n`);
  return `${exports.join('')}cd ${quoted(checkout)} || exit 125\nexec ${command.map(quoted).join(' ')}\n`;
}

function qemuCommand(options: GuestOptions, folder: string, initrd: string, files: string): string[] {
  const { kernel, qemu, accel, cpus, memoryMb } = options;
  const cmdline = [
    'console=ttyS0 quiet panic=-1 reboot=t mitigations=off tsc=reliable random.trust_cpu=on',
    // Emulated, a CPU may well be away for longer than the watchdogs think right.
    'nowatchdog rcupdate.rcu_cpu_stall_suppress=1',
    // On a busy machine the timer seems broken when the kernel tries it, and the boot hangs.
    'no_timer_check',
  ].join(' ');
  const serial = ['out', 'err', 'control'].flatMap((name) => [
    ...['-chardev', `socket,id=${name},path=${join(folder, name)}`],
    ...['-device', `virtserialport,chardev=${name},name=shunt.${name}`],
  ]);
  return [
    ...[qemu.command, ...qemu.args, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'q35,memory-backend=memory', '-accel', accel, '-cpu', CPU, '-smp', String(cpus)],
    // Shared with the daemon, which reads and writes the guest's buffers itself.
    ...['-m', `${memoryMb}M`, '-object', `memory-backend-memfd,id=memory,size=${memoryMb}M,share=on`],
    ...['-chardev', `socket,id=files,path=${files}`, '-device', 'vhost-user-fs-pci,chardev=files,tag=host'],
    ...['-chardev', `file,id=console,path=${join(folder, 'console')}`, '-serial', 'chardev:console'],
    ...['-device', 'virtio-serial-pci', ...serial, '-device', 'virtio-rng-pci', '-nic', 'none'],
    ...['-kernel', kernel.image, '-initrd', initrd, '-append', cmdline],
  ];
}

/** A program that dies with us. */
class Child implements AsyncDisposable {
  readonly ended: Promise<void>;
  readonly #process: ChildProcess;
  readonly #logFile: string;

  constructor(command: readonly string[], logFile: string) {
    this.#logFile = logFile;
    const log = openSync(logFile, 'w');
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['ignore', log, log] });
    closeSync(log);
    this.ended = once(this.#process, 'exit').then(() => {});
  }

  log(): string {
    return readFileSync(this.#logFile, 'utf8').trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.ended;
  }
}

async function startDaemon(folder: string, socket: string, signal: AbortSignal): Promise<Child> {
  const root = join(folder, 'root');
  mkdirSync(root);
  const script = join(import.meta.dirname, 'guest', 'export');
  const command = ['unshare', '-m', 'sh', script, root, ...diskMounts(), '--', ...virtiofsd(socket, root)];
  const listening = appears(socket, AbortSignal.any([signal, AbortSignal.timeout(DAEMON_START_MS)]));
  const child = new Child(command, join(folder, 'virtiofsd.log'));
  const outcome = await Promise.race([listening, child.ended.then(() => false)]);
  if (outcome) return child;
  const said = child.log();
  await child[Symbol.asyncDispose]();
  throw new ShuntError('SHUNT_E_VM_QEMU', `virtiofsd does not start: ${said || 'it says nothing'}`, {
    fix: 'run it as root, where mount namespaces may be made',
  });
}

/** File systems with files of their own besides the root's; /proc, cgroups and the like the guest has itself. */
function diskMounts(): string[] {
  const memory =
    /^(proc|sysfs|tmpfs|ramfs|devtmpfs|devpts|cgroup2?|bpf|debugfs|tracefs|securityfs|mqueue|fusectl)$/;
  const rest = /^(hugetlbfs|configfs|pstore|efivarfs|binfmt_misc|autofs|nsfs|overlay|squashfs|rpc_pipefs)$/;
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [point, type] = [before.split(' ')[4], after.split(' ')[0]];
      if (point === undefined || type === undefined || point === '/' || memory.test(type) || rest.test(type))
        return [];
      // Bound files (/etc/hosts in a container) are the root's own in the guest.
      return statSync(point, { throwIfNoEntry: false })?.isDirectory() ? [point] : [];
    });
  return [...new Set(points)].sort();
}

/** Whether a file is there before the signal. */
async function appears(path: string, signal: AbortSignal): Promise<boolean> {
  await using stack = new AsyncDisposableStack();
  const watcher = watch(dirname(path));
  stack.defer(() => watcher.close());
  const end = aborted(signal).then(() => false);
  while (!existsSync(path)) {
    const changed = once(watcher, 'change').then(() => true);
    if (!(await Promise.race([changed, end]))) return false;
  }
  return true;
}

/** False after that time; the stack's end takes the timer along. */
function after(ms: number, stack: AsyncDisposableStack): Promise<false> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ms);
    stack.defer(() => clearTimeout(timer));
  });
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}

/** One of the guest's serial ports: QEMU connects to it, and hangs up when the guest is gone. */
async function port(
  path: string,
  take: (data: string) => void,
): Promise<AsyncDisposable & { drained: Promise<void> }> {
  const server = createServer();
  const sockets = new Set<Socket>();
  const drained = new Promise<void>((resolve) => {
    server.once('connection', (socket) => {
      sockets.add(socket);
      socket.setEncoding('utf8').on('data', take).once('close', resolve);
      socket.on('error', () => {}); // reset when QEMU is killed; 'close' follows
    });
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    drained,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
