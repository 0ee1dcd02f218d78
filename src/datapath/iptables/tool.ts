/** Programs of the node, run inside a pod's network namespace: arguments as an array, documents on standard input. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { ShuntError } from '../../errors.ts';
import { systemErrorCode } from '../../pod/syscall.ts';

export interface ToolResult {
  /** Exit code; 127 where the shell-like launcher did not find the program. */
  code: number;
  stdout: string;
  stderr: string;
}

/** What nsenter and unshare exit with when they cannot find, or not run, the program. */
const NOT_STARTED = [127, 126];

/**
 * Runs a program inside a network namespace, or in a new one that ends with it.
 *
 * @param netns path of the namespace; null for a new, empty one
 * @throws SHUNT_E_IPTABLES_MISSING when the program, nsenter or unshare is not installed
 */
export async function runInside(
  netns: string | null,
  argv: readonly string[],
  input = '',
): Promise<ToolResult> {
  const enter = netns === null ? ['unshare', '--net', '--'] : ['nsenter', `--net=${netns}`, '--'];
  const result = await run([...enter, ...argv], input);
  if (NOT_STARTED.includes(result.code)) missing(argv[0] ?? '', result.stderr.trim());
  return result;
}

function run([file = '', ...args]: string[], input: string): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (cause) =>
      reject(systemErrorCode(cause) === 'ENOENT' ? notInstalled(file, cause) : cause),
    );
    child.on('close', (code, signal) =>
      resolve({ code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]), stdout, stderr }),
    );
    // A program that ends before it has read everything closes the pipe; its exit code tells the rest.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

function missing(program: string, said: string): never {
  throw new ShuntError('SHUNT_E_IPTABLES_MISSING', said || undefined, { target: program });
}

function notInstalled(program: string, cause: unknown): ShuntError {
  return new ShuntError('SHUNT_E_IPTABLES_MISSING', undefined, { target: program, cause });
}
