import { spawn } from 'node:child_process';
import { ShuntError } from '../errors.ts';

/** A program and its arguments; never a shell string. */
export type Argv = readonly [string, ...string[]];

export interface CommandResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Debian package of each tool, for the error's advice. */
const PACKAGE_OF: Record<string, string> = {
  ip: 'iproute2',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  taskset: 'util-linux',
  'iptables-restore': 'iptables',
  'ip6tables-restore': 'iptables',
  'iptables-save': 'iptables',
  'ip6tables-save': 'iptables',
  haproxy: 'haproxy',
  curl: 'curl',
  clang: 'clang',
};

/** @throws SHUNT_E_LAB_TOOL always; `cause` is kept */
export function toolMissing(tool: string, cause?: unknown): never {
  const name = PACKAGE_OF[tool] ?? tool;
  throw new ShuntError('SHUNT_E_LAB_TOOL', 'is not installed or cannot be run', {
    target: tool,
    fix: `install it: apt-get install ${name}`,
    cause,
  });
}

/**
 * Runs a program to its end and collects what it said, whatever its exit code.
 *
 * @param input text for its standard input
 * @throws SHUNT_E_LAB_TOOL when the program cannot be started
 */
export function attempt(argv: Argv, input?: string): Promise<CommandResult> {
  const [file, ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (cause) => {
      try {
        toolMissing(file, cause);
      } catch (error) {
        reject(error);
      }
    });
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    // A program that does not read its input closes the pipe; its exit code tells the rest.
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
  });
}

/**
 * Runs a program that has to succeed and returns its standard output.
 *
 * @throws SHUNT_E_LAB_TOOL when it cannot be started, SHUNT_E_LAB_COMMAND when it fails
 */
export async function run(argv: Argv, input?: string): Promise<string> {
  const result = await attempt(argv, input);
  if (result.code !== 0) {
    const said = result.stderr.trim() || result.stdout.trim() || 'it said nothing';
    throw new ShuntError(
      'SHUNT_E_LAB_COMMAND',
      `ended with ${result.signal ?? `code ${result.code}`}: ${said}`,
      { target: argv.join(' ') },
    );
  }
  return result.stdout;
}
