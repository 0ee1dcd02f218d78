/** An installer that watches a folder of its own, and a primary plugin that writes there again and again. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as v from 'valibot';
import type { PluginEntry } from '../../src/cni/conflist.ts';
import { keepInstalled } from '../../src/cni/installation_watch.ts';
import { CniInstaller } from '../../src/cni/installer.ts';

const PRIMARY = fileURLToPath(new URL('primary.ts', import.meta.url));

export interface Watched extends AsyncDisposable {
  netDir: string;
  entry: PluginEntry;
  log: { event?: string; code?: string }[];
  ended: Promise<void>;
}

/** @param folder is made */
export function watching(folder: string): Watched {
  const [netDir, binDir, program] = ['net.d', 'bin', 'program'].map((part) => join(folder, part)) as [
    string,
    string,
    string,
  ];
  mkdirSync(netDir, { recursive: true });
  writeFileSync(program, 'the plugin');
  const entry: PluginEntry = {
    type: 'shunt-cni',
    socket: join(folder, 'cni.sock'),
    left: join(folder, 'left'),
    pass: { namespaces: [], pods: [] },
  };
  const stop = new AbortController();
  const log: Watched['log'] = [];
  const note = (fields: object) => void log.push(fields);
  const ended = keepInstalled({
    installer: new CniInstaller({ netDir, binDir, program }),
    netDir,
    entry: () => entry,
    signal: stop.signal,
    log: { info: note, warn: note },
  });
  return {
    netDir,
    entry,
    log,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

const Rewritten = v.object({
  writes: v.number(),
  looks: v.number(),
  longestLostMs: v.number(),
  corrupted: v.array(v.string()),
  stale: v.number(),
  lostWrites: v.number(),
});

/** What a primary plugin saw that wrote its configuration every 100 ms. */
export async function rewritten(file: string, seconds: number): Promise<v.InferOutput<typeof Rewritten>> {
  const args = ['--conditions=source', PRIMARY, file, String(seconds * 1000), '100'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return v.parse(Rewritten, JSON.parse(stdout));
}
