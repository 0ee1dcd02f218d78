import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CACHE, ROOT } from '../place.mjs';

const HEARTBEAT_MS = 10_000;
const TAIL_LINES = 20;

/** Set-up cannot go on. `fix` is what the user does about it. */
export class SetupError extends Error {
  /**
   * @param {string} message what happened
   * @param {string} fix what to do, one or more lines
   */
  constructor(message, fix) {
    super(message);
    this.name = 'SetupError';
    this.fix = fix;
  }
}

/** Plain lines with the time since the start, on stderr so that `npm run -s demo -- -o json` stays JSON. */
export class Progress {
  /** Whether any program was run, so that there is a log to read. */
  static logged = false;
  #startedAt = Date.now();
  #log = join(CACHE, 'setup.log');
  /** What could not be had, and what that means; repeated at the end. */
  shortfalls = [];

  elapsed() {
    return `${((Date.now() - this.#startedAt) / 1000).toFixed(1)} s`;
  }

  /** @param {string} text one line */
  say(text) {
    process.stderr.write(`set-up ${this.elapsed().padStart(8)}  ${text}\n`);
  }

  /**
   * @param {string} what could not be had
   * @param {string} meaning what that means for the user
   */
  lacks(what, meaning) {
    this.shortfalls.push(`${what}: ${meaning}`);
  }

  /**
   * Runs a program to its end, its output in .cache/setup.log, with a line now and then while it takes long.
   *
   * @param {string} label what is being done, for the lines shown
   * @param {string} command
   * @param {string[]} args
   * @param {{env?: object, uid?: number, gid?: number, cwd?: string, timeoutMs?: number}} [options]
   * @returns {Promise<{code: number, output: string, tail: string}>} code is 127 when there is no such program
   */
  async run(label, command, args, options = {}) {
    this.#write(`\n$ ${[command, ...args].join(' ')}\n`);
    const { timeoutMs, ...spawnOptions } = options;
    const startedAt = Date.now();
    const child = spawn(command, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      ...spawnOptions,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        this.#write(text);
      });
    }
    const heartbeat = setInterval(() => {
      const last = lines(output).at(-1) ?? '';
      const seconds = Math.round((Date.now() - startedAt) / 1000);
      this.say(`${label}: still at it after ${seconds} s${last ? `, ${last.slice(0, 100)}` : ''}`);
    }, HEARTBEAT_MS);
    try {
      const code = await new Promise((resolve) => {
        child.once('error', (error) => {
          output += `${error.message}\n`;
          resolve(127);
        });
        child.once('close', (status, signal) => {
          if (signal) output += `ended by ${signal}\n`;
          resolve(status ?? 128);
        });
      });
      return { code, output, tail: lines(output).slice(-TAIL_LINES).join('\n') };
    } finally {
      clearInterval(heartbeat);
    }
  }

  #write(text) {
    if (!Progress.logged) {
      mkdirSync(dirname(this.#log), { recursive: true });
      writeFileSync(this.#log, `set-up of ${new Date().toISOString()}\n`);
      Progress.logged = true;
    }
    appendFileSync(this.#log, text);
  }
}

function lines(text) {
  return text.split(/[\r\n]+/).filter((line) => line.trim() !== '');
}
