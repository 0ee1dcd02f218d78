/** The guest's initramfs: busybox, the modules that reach the host's files, and what is to be run. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ShuntError } from '../src/errors.ts';
import type { Kernel } from './kernel_package.ts';

const BUSYBOX = '/bin/busybox';
/** Wanted before the host's root is there; a kernel that has one built in has no file of it. */
const MODULES = ['virtio_pci', 'virtio_console', 'virtio_rng', 'virtiofs', 'overlay'];
const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;

/** @param job shell script that is the guest's work; @param checkout its path, here and there */
export function initramfs(kernel: Kernel, job: string, checkout: string): Buffer {
  const guest = join(import.meta.dirname, 'guest');
  const modules = moduleFiles(kernel);
  const place = `checkout=${quoted(checkout)}\nmodules=${quoted(kernel.modules)}\n`;
  return cpio([
    ...['bin', 'dev', 'proc', 'sys', 'modules', 'shunt-vm'].map((path) => ({ path, mode: DIRECTORY })),
    { path: 'bin/busybox', mode: PROGRAM, data: staticBusybox() },
    { path: 'init', mode: PROGRAM, data: readFileSync(join(guest, 'init')) },
    { path: 'modules.list', mode: FILE, data: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    ...modules.map(({ name, data }) => ({ path: `modules/${name}`, mode: FILE, data })),
    { path: 'shunt-vm/run', mode: PROGRAM, data: readFileSync(join(guest, 'run')) },
    { path: 'shunt-vm/job', mode: FILE, data: Buffer.from(job) },
    { path: 'shunt-vm/place', mode: FILE, data: Buffer.from(place) },
    { path: 'shunt-vm/config', mode: FILE, data: readFileSync(kernel.config) },
  ]);
}

/** One word of a POSIX shell, whatever it holds. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function staticBusybox(): Buffer {
  try {
    return readFileSync(BUSYBOX);
  } catch (cause) {
    throw new ShuntError('SHUNT_E_VM_QEMU', 'there is no static busybox here', { target: BUSYBOX, cause });
  }
}

interface ModuleFile {
  name: string;
  data: Buffer;
}

/** In the order in which insmod takes them: what a module needs comes before it. */
function moduleFiles(kernel: Kernel): ModuleFile[] {
  const needs = new Map<string, string[]>();
  for (const line of readFileSync(join(kernel.modules, 'modules.dep'), 'utf8').split('\n')) {
    const [path, rest] = line.split(':');
    if (path !== undefined && rest !== undefined) needs.set(path, rest.split(' ').filter(Boolean));
  }
  const byName = new Map([...needs.keys()].map((path) => [moduleName(path), path]));
  const ordered = new Set<string>();
  const add = (path: string): void => {
    for (const needed of needs.get(path) ?? []) add(needed);
    ordered.add(path);
  };
  for (const name of MODULES) {
    const path = byName.get(name);
    if (path !== undefined) add(path);
  }
  return [...ordered].map((path) => ({
    name: `${moduleName(path)}.ko`,
    data: unpacked(join(kernel.modules, path)),
  }));
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

function unpacked(file: string): Buffer {
  const maxBuffer = 64 << 20;
  if (file.endsWith('.xz')) return execFileSync('xz', ['-dc', file], { maxBuffer });
  if (file.endsWith('.zst')) return execFileSync('zstd', ['-dcq', file], { maxBuffer });
  return readFileSync(file);
}

interface Entry {
  path: string;
  mode: number;
  data?: Buffer;
}

/** "newc": the only form the kernel takes; Documentation/driver-api/early-userspace/buffer-format.rst. */
function cpio(entries: Entry[]): Buffer {
  const parts: Buffer[] = [];
  const pad = (length: number): Buffer => Buffer.alloc(-length & 3);
  for (const [index, { path, mode, data = Buffer.alloc(0) }] of [
    ...entries,
    { path: 'TRAILER!!!', mode: 0 },
  ].entries()) {
    const name = Buffer.from(`${path}\0`);
    // inode, mode, uid, gid, links, time, size, four device numbers, length of the name, checksum (unused)
    const fields = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
    const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    parts.push(Buffer.from(head), name, pad(head.length + name.length), data, pad(data.length));
  }
  return Buffer.concat(parts);
}
