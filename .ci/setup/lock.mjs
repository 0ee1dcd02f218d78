import { spawn } from 'node:child_process';

/**
 * Takes the lock on a file through flock(1). The kernel drops it when this process dies in any way, because the
 * child that holds it reads our end of a pipe: there is no stale lock to judge.
 *
 * @param {string} file created when missing
 * @param {() => void} onWait called once when another set-up holds it
 * @returns {Promise<() => Promise<void>>} releases the lock
 */
export async function hold(file, onWait) {
  const taken = await take(['--nonblock', '--conflict-exit-code', '75'], file);
  if (taken !== undefined) return taken;
  onWait();
  return await take([], file);
}

async function take(flags, file) {
  const child = spawn('flock', [...flags, file, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const closed = new Promise((resolve) => child.once('close', resolve));
  const outcome = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.stdout.once('data', () => resolve('held'));
    child.once('close', resolve);
  });
  if (outcome === 75) return undefined;
  if (outcome !== 'held') throw new Error(`flock ${file} ended with ${outcome}`);
  return async () => {
    child.stdin.end();
    await closed;
  };
}
