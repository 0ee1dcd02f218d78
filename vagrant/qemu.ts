/** The emulator and the daemon that shows it the host's files. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ShuntError } from '../src/errors.ts';
import { Archive, mirrorOf } from './archive.ts';
import { CACHE } from './kernel_package.ts';

export interface Qemu {
  command: string;
  /** Where its firmware is, when it is not installed. */
  args: string[];
  version: string;
}

const COMMAND = 'qemu-system-x86_64';
/**
 * QEMU 7.2 emulates cmpxchg16b with wrong flags, and a kernel since 6.12 that uses it dies at random; without the
 * instruction (-cpu Nehalem,-cx16) the kernel lives and Node does not. 10.0 is the first one tried that is right.
 */
const SOUND = 10;
/** The packages of QEMU's own files; what they need beyond these, the older installed QEMU has brought. */
const PARTS = ['qemu-system-x86', 'qemu-system-common', 'qemu-system-data'];

/**
 * The machine's QEMU when it is sound, and otherwise the one of this release's backports, unpacked beside it.
 *
 * @throws SHUNT_E_VM_QEMU when there is none; SHUNT_E_VM_PACKAGE when backports cannot be had
 */
export function qemuOf({ mirror, tell }: { mirror: string | undefined; tell: (line: string) => void }): Qemu {
  const installed = versionOf(COMMAND);
  if (installed === undefined) throw new ShuntError('SHUNT_E_VM_QEMU', `there is no ${COMMAND} here`);
  if (Number.parseInt(installed, 10) >= SOUND) return { command: COMMAND, args: [], version: installed };

  const folder = join(CACHE, 'qemu');
  const command = join(folder, 'usr', 'bin', COMMAND);
  if (!existsSync(command)) {
    const suite = `${codename()}-backports`;
    tell(`QEMU ${installed} cannot run new kernels: fetching that of ${suite}`);
    using archive = new Archive(CACHE, mirrorOf(mirror), [suite]);
    const [version] = archive.versionsOf(PARTS[0] as string);
    if (version === undefined) throw new ShuntError('SHUNT_E_VM_QEMU', `${suite} has no ${PARTS[0]}`);
    archive.unpack(
      PARTS.map((part) => `${part}=${version}`),
      folder,
    );
  }
  const firmware = [join(folder, 'usr/share/qemu'), '/usr/share/seabios'];
  const args = firmware.flatMap((place) => ['-L', place]);
  const version = versionOf(command);
  if (version !== undefined && Number.parseInt(version, 10) >= SOUND) return { command, args, version };
  throw new ShuntError('SHUNT_E_VM_QEMU', `QEMU ${version ?? 'of backports'} does not run here`, {
    target: command,
    fix: `install a QEMU >= ${SOUND} (Debian 13 has one), or see what \`ldd ${command}\` misses`,
  });
}

function versionOf(command: string): string | undefined {
  const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version (\d+\.\d+\.\d+)/.exec(stdout)?.[1] : undefined;
}

function codename(): string {
  return /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? '';
}

/**
 * The command line of virtiofsd: the one in C that came with QEMU until 8.0, or the one in Rust.
 *
 * @throws SHUNT_E_VM_QEMU
 */
export function virtiofsd(socket: string, folder: string): string[] {
  const [rust, c] = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd'];
  // 0: as many descriptors as we may have; raising the limit takes CAP_SYS_RESOURCE.
  if (existsSync(rust)) {
    const sandbox = ['--sandbox=chroot', '--cache=always', '--rlimit-nofile=0'];
    return [rust, `--socket-path=${socket}`, `--shared-dir=${folder}`, ...sandbox];
  }
  if (existsSync(c)) {
    const options = [
      '-o',
      `source=${folder}`,
      '-o',
      'cache=always',
      '-o',
      'sandbox=chroot',
      '-o',
      'log_level=warn',
    ];
    return [c, `--socket-path=${socket}`, ...options, '--rlimit-nofile=0'];
  }
  throw new ShuntError('SHUNT_E_VM_QEMU', 'there is no virtiofsd here', {
    fix: 'apt-get install virtiofsd',
  });
}
