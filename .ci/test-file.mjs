import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { at, NODE, ROOT } from './place.mjs';

const REPORTER = at('.ci', 'test-events.mjs');
const OUTPUT_LINES = 40;
/** From SIGTERM to SIGKILL of a file that hangs, so that what it made can still be taken down. */
const GRACE_MS = 5_000;
/** How long children of a file that has ended may take to follow it. */
const LEFTOVER_MS = 3_000;

const running = new Set();

/** Ends every test file that runs; for Ctrl-C. */
export function endAll() {
  for (const end of running) end();
}

/**
 * Runs one file of node:test tests in a process group of its own.
 *
 * @param {string} file absolute, or by path below the checkout
 * @param {number} timeoutMs after which it is ended and counts as failed
 * @returns {Promise<{tests: {name: string, outcome: 'passed'|'failed'|'skipped', reason?: string, error?: string}[],
 *   output: string, ms: number}>} output: the last lines it printed
 */
export async function runTestFile(file, timeoutMs) {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-test-'));
  const eventsFile = join(folder, 'events');
  const startedAt = performance.now();
  const args = [
    '--conditions=source',
    `--test-reporter=${REPORTER}`,
    `--test-reporter-destination=${eventsFile}`,
  ];
  const child = spawn(NODE, [...args, resolve(ROOT, file)], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (output += text));

  let hung = false;
  const timers = [];
  const end = () => {
    signalGroup(child.pid, 'SIGTERM');
    timers.push(setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE_MS));
  };
  running.add(end);
  timers.push(
    setTimeout(() => {
      hung = true;
      end();
    }, timeoutMs),
  );
  const { code, signal } = await new Promise((settle) => {
    child.once('exit', (code, signal) => settle({ code, signal }));
  });
  for (const timer of timers) clearTimeout(timer);
  const leftovers = await endLeftovers(child.pid);
  running.delete(end);

  const { tests, unended } = readEvents(eventsFile);
  rmSync(folder, { recursive: true });
  const fail = (name) => tests.push({ name, outcome: 'failed' });
  if (hung) {
    const where = unended.length > 0 ? `; it was in: ${unended.join(' > ')}` : '';
    fail(`${file} ends within ${timeoutMs / 1000} s${where}`);
  } else if (tests.length === 0) {
    fail(`${file} holds a test${ending(code, signal)}`);
  } else if ((code !== 0 || signal) && !tests.some(({ outcome }) => outcome === 'failed')) {
    fail(`${file} ends well${ending(code, signal)}`);
  }
  if (leftovers.length > 0 && !hung) fail(`${file} leaves no process behind: ${leftovers.join(', ')}`);
  const tail = output.trimEnd().split('\n').slice(-OUTPUT_LINES).join('\n');
  return { tests, output: tail, ms: performance.now() - startedAt };
}

function ending(code, signal) {
  if (signal) return ` (ended by ${signal})`;
  return code === 0 ? '' : ` (exit code ${code})`;
}

/** The tests that ended, and the names of those that began and did not. */
function readEvents(file) {
  // None when the file did not get as far; a last line cut short when it was killed.
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
  const tests = [];
  const unended = [];
  for (const { moment, ...event } of lines.map((line) => JSON.parse(line))) {
    if (moment === 'test:dequeue') unended.push(event);
    else if (moment === 'test:complete') {
      const ended = unended.findIndex(({ name, line }) => name === event.name && line === event.line);
      unended.splice(ended, ended < 0 ? 0 : 1);
    } else tests.push(event);
  }
  return { tests, unended: unended.map(({ name }) => name) };
}

/** Ends what is still in the group, after a moment in which it may end by itself. */
async function endLeftovers(group) {
  const deadline = performance.now() + LEFTOVER_MS;
  let left = membersOf(group);
  while (left.length > 0 && performance.now() < deadline) {
    await delay(50);
    left = membersOf(group);
  }
  if (left.length > 0) signalGroup(group, 'SIGKILL');
  return left;
}

/** Names of the live processes of a group. */
function membersOf(group) {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    const stat = statOf(pid);
    return stat && stat.group === group && stat.state !== 'Z' ? [`${stat.name} (${pid})`] : [];
  });
}

function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, , group] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')), state, group: Number(group) };
  } catch {
    return undefined; // ended since the folder was listed
  }
}

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}
