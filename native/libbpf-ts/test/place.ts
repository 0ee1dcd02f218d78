import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { onBpffs } from '../src/kernel_object.ts';

let serial = 0;

function cgroup2Mount(): string {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [fields = '', type = ''] = line.split(' - ');
    if (type.startsWith('cgroup2 ')) return fields.split(' ')[4] ?? '';
  }
  throw new Error('no cgroup2 file system is mounted');
}

/** A cgroup of our own, empty but for what {@link connectFrom} runs in it for a moment. */
export function makeCgroup(): { path: string } & Disposable {
  const path = join(cgroup2Mount(), `libbpf-ts-test-${process.pid}-${serial++}`);
  mkdirSync(path);
  return {
    path,
    [Symbol.dispose]() {
      if (existsSync(path)) rmdirSync(path); // a test may have removed it to see what happens
    },
  };
}

/** A directory on bpffs, removed with all pins in it. */
export function makePinDirectory(): { path: string } & Disposable {
  const root = '/sys/fs/bpf';
  if (!onBpffs(root)) throw new Error('bpffs is not mounted: mount -t bpf bpf /sys/fs/bpf');
  const path = mkdtempSync(join(root, 'libbpf-ts-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

/** Connects to 127.0.0.1 from a process inside a cgroup. @returns whether it was connected */
export async function connectFrom(cgroup: string, port: number): Promise<boolean> {
  const script = 'echo $$ > "$0/cgroup.procs" && exec 3<>"/dev/tcp/127.0.0.1/$1"';
  const child = spawn('bash', ['-c', script, cgroup, String(port)], { stdio: 'ignore' });
  const [code] = await once(child, 'exit');
  return code === 0;
}

/** A server on loopback that takes every connection. */
export async function listen(): Promise<{ port: number; server: Server } & AsyncDisposable> {
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    server,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

/** An established TCP connection and its descriptor. */
export async function openSocket(port: number): Promise<{ fd: number; socket: Socket } & Disposable> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return { fd: descriptorOf(socket), socket, [Symbol.dispose]: () => socket.destroy() };
}

/** Node keeps the descriptor on the handle, which its types leave out. */
function descriptorOf(socket: object): number {
  const handle: unknown = '_handle' in socket ? socket._handle : undefined;
  const fd = typeof handle === 'object' && handle !== null && 'fd' in handle ? handle.fd : undefined;
  if (typeof fd !== 'number') throw new Error('the socket has no descriptor');
  return fd;
}

/** A network namespace held by a process that does nothing. */
export async function makeNetns(): Promise<{ path: string } & AsyncDisposable> {
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  return {
    path: `/proc/${holder.pid}/ns/net`,
    async [Symbol.asyncDispose]() {
      holder.stdin.end(); // cat ends with its input
      await once(holder, 'exit');
    },
  };
}
