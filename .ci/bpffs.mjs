import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';

const BPFFS = '/sys/fs/bpf';

/**
 * Mounts the BPF file system where a machine has none: systemd does it on most, a container or a small VM does not.
 *
 * @param {(line: string) => void} print
 * @returns {() => void} takes the mount away again, if this made it
 */
export function withBpffs(print) {
  if (process.getuid() !== 0 || isMounted()) return () => {};
  mkdirSync(BPFFS, { recursive: true });
  const { status, stderr } = spawnSync('mount', ['-t', 'bpf', 'bpf', BPFFS], { encoding: 'utf8' });
  if (status !== 0) {
    print(`no BPF file system on ${BPFFS}, and none can be mounted: ${stderr.trim()}`);
    return () => {};
  }
  print(`mounted a BPF file system on ${BPFFS} for the time of the tests`);
  return () => {
    const { status: left, stderr: why } = spawnSync('umount', [BPFFS], { encoding: 'utf8' });
    if (left !== 0) print(`${BPFFS} stays mounted: ${why.trim()}`);
  };
}

function isMounted() {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === BPFFS && line.split(' ')[2] === 'bpf');
}
