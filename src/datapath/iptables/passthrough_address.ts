/** ::6 on lo: a sidecar binds to it for its own way to the application. 127.0.0.6 needs no such thing. */
import { ShuntError } from '../../errors.ts';
import { runInside } from './tool.ts';

export const PASSTHROUGH_6 = '::6';

/** @returns false when it is there already */
export async function addPassthrough(netns: string): Promise<boolean> {
  return await address(netns, 'add', ['nodad'], /File exists|already assigned/);
}

/** The address may be gone already. */
export async function removePassthrough(netns: string): Promise<void> {
  await address(netns, 'del', [], /Cannot assign requested address/);
}

/** @returns false when there was nothing to do, which `idle` recognises by what ip says */
async function address(netns: string, verb: 'add' | 'del', more: string[], idle: RegExp): Promise<boolean> {
  const argv = ['ip', '-6', 'address', verb, `${PASSTHROUGH_6}/128`, 'dev', 'lo', ...more];
  const { code, stderr } = await runInside(netns, argv);
  if (code === 0) return true;
  if (idle.test(stderr)) return false;
  throw new ShuntError('SHUNT_E_IPTABLES_APPLY', `${argv.join(' ')}: ${stderr.trim()}`, { target: 'ip' });
}
