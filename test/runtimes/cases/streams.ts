/** Runtimes over plain TCP: requests, streams both ways, a slow reader, a pause, a half close; peer/stream.ts has it in words. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Argv } from '../../../src/lab/command.ts';
import { PORT, type Stage } from '../stage.ts';
import { LEFT, type RuntimeCase } from './case.ts';
import { GO, goPeer, JAVA, javaPeer } from './programs.ts';

const CONNECTIONS = 6;
const IDLE_MS = 1_500;
/** Around what is redirected: a byte, a few segments, more than one message, more than may wait. */
const REQUESTS = ['300 1', '100 1400', '60 20000', '6 600000'];
const STREAM_BYTES = 3_000_000;

/** @param argv command line of the peer: serving, and calling with an address */
async function play(stage: Stage, server: Argv, caller: (connections: number) => Argv): Promise<void> {
  await stage.serve(server);
  const ask = await stage.dialogue(caller(CONNECTIONS));
  const step = async (line: string): Promise<void> => stage.note(line, await ask(line));
  await step('open');
  await stage.warm('requests 50 512', () => ask('requests 50 512'));
  for (const sizes of REQUESTS) await step(`requests ${sizes}`);
  for (const what of ['give', 'take', 'slow']) await step(`${what} ${STREAM_BYTES}`);
  await step('requests 50 512');
  await delay(IDLE_MS);
  await step('requests 50 513');
  await step(`half ${STREAM_BYTES}`);
  await step('close');
}

function python(script: string, ...more: string[]): Pick<RuntimeCase, 'needs' | 'play'> {
  return {
    needs: { '/usr/bin/python3': 'python3' },
    play: (stage) => {
      const program: Argv = ['/usr/bin/python3', join(stage.bed.programs, script)];
      return play(stage, [...program, 'serve', String(PORT), ...more], (connections) => [
        ...program,
        ...['call', stage.address, String(PORT), String(connections), ...more],
      ]);
    },
  };
}

export const STREAMS: readonly RuntimeCase[] = [
  {
    name: 'Node, node:net',
    what: 'server and client',
    everywhere: true,
    needs: {},
    taken: ['node'],
    left: {},
    play: (stage) => {
      const { node, programs } = stage.bed;
      const program: Argv = [node, join(programs, 'stream.mts')];
      return play(stage, [...program, 'serve', String(PORT)], (connections) => [
        ...program,
        ...['call', stage.address, String(PORT), String(connections)],
      ]);
    },
  },
  {
    name: 'Python, asyncio',
    what: 'streams, server and client',
    everywhere: true,
    taken: ['python3'],
    left: {},
    ...python('streams.py'),
  },
  {
    name: 'Python, socket',
    what: 'a thread a connection, sockets that block',
    everywhere: false,
    taken: [],
    left: { python3: LEFT.blocks },
    ...python('sockets.py', '0'),
  },
  {
    name: 'Python, socket with a time-out',
    what: 'a thread a connection; poll() before every call',
    everywhere: false,
    taken: ['python3'],
    left: {},
    ...python('sockets.py', '30'),
  },
  {
    name: 'Go, io.Copy',
    what: 'server and client; io.Copy from a connection to itself splices',
    everywhere: false,
    taken: [],
    left: { 'go-peer': LEFT.edge },
    ...GO,
    play: (stage) =>
      play(stage, goPeer(stage, 'serve', String(PORT)), (connections) =>
        goPeer(stage, 'call', stage.address, String(PORT), String(connections)),
      ),
  },
  {
    name: 'Java, java.net.Socket',
    what: 'a thread a connection, sockets that block',
    everywhere: false,
    taken: [],
    left: { java: LEFT.blocks },
    ...JAVA,
    play: (stage) =>
      play(stage, javaPeer(stage, 'serve', String(PORT)), (connections) =>
        javaPeer(stage, 'call', stage.address, String(PORT), String(connections), '0'),
      ),
  },
  {
    name: 'Java, java.net.Socket with a time-out',
    what: 'the client; a read that times out makes its socket one that does not block',
    everywhere: false,
    taken: ['java'],
    left: {},
    ...JAVA,
    play: (stage) =>
      play(stage, javaPeer(stage, 'serve', String(PORT)), (connections) =>
        javaPeer(stage, 'call', stage.address, String(PORT), String(connections), '30000'),
      ),
  },
];
