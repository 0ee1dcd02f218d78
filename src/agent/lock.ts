/**
 * One agent per set of pins or, with iptables, per run directory. The lock is an flock on the directory itself, so it
 * goes with the process however that ends, and two agents that differ only in their socket still meet.
 */
import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { ShuntError } from '../errors.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Takes the lock, or says who is in the way.
 *
 * @param directory <bpffs>/shunt, or that of the socket; must exist
 * @throws SHUNT_E_AGENT_RUNNING when another process holds it
 */
export function lockDirectory(directory: string): Disposable {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  if (flock(fd, LOCK_EX | LOCK_NB) !== 0) {
    closeSync(fd);
    throw new ShuntError('SHUNT_E_AGENT_RUNNING', undefined, { target: directory });
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}

function flock(fd: number, operation: number): number {
  const call = koffi.load(null).func('int flock(int fd, int operation)') as (
    fd: number,
    operation: number,
  ) => number;
  return call(fd, operation);
}
