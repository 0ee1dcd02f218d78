/** Databases and gRPC, by their own clients. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { below } from '../../../src/lab/checkout.ts';
import { type Argv, attempt, run } from '../../../src/lab/command.ts';
import { until } from '../../../src/lab/deadline.ts';
import type { Place } from '../../../src/lab/process.ts';
import type { Bed } from '../bed.ts';
import { PORT, type Stage, Unavailable } from '../stage.ts';
import { LEFT, type RuntimeCase } from './case.ts';

const IDLE_MS = 1_500;
const PYTHON = '/usr/bin/python3';

async function redis(stage: Stage): Promise<void> {
  await stage.serve([
    'redis-server',
    ...[
      '--bind',
      '0.0.0.0',
      '--port',
      String(PORT),
      '--protected-mode',
      'no',
      '--save',
      '',
      '--dir',
      stage.folder,
    ],
    ...['--enable-debug-command', 'yes'],
  ]);
  const at = ['-h', stage.address, '-p', String(PORT)];
  const cli = (...words: string[]): Argv => ['redis-cli', ...at, ...words];
  const noteRun = async (what: string, argv: Argv, input?: string): Promise<void> => {
    const { code, stdout, stderr } = await stage.run(argv, input);
    stage.note(what, `${stdout.trim().split('\n').at(-1)}${stderr.trim()}; exit ${code}`);
  };
  const ask = await stage.dialogue(cli());
  await stage.warm('a session', () => ask('set greeting hello'));
  const benchmark = async (tests: string, requests: number, ...more: string[]): Promise<void> => {
    const argv: Argv = [
      'redis-benchmark',
      ...at,
      '-q',
      '-c',
      '10',
      '-n',
      String(requests),
      '-t',
      tests,
      ...more,
    ];
    const { code, stdout, stderr } = await stage.run(argv);
    // What is left of "SET: 24271.84 requests per second, p50=0.319 msec", one line a test.
    const done = [...stdout.matchAll(/([A-Z_]+(?: \([^)]*\))?): [\d.]+ requests per second/g)].map(
      ([, test]) => test,
    );
    stage.note(
      `redis-benchmark ${tests} ${more.join(' ')}`,
      `${done.join(', ')}; exit ${code} ${stderr.trim()}`,
    );
  };
  await benchmark('set,get,lpush,lpop', 2_000);
  await benchmark('set,get', 20_000, '-P', '16');
  await benchmark('set,get', 300, '-d', '100000');
  // Long enough for its connections to be taken up.
  await benchmark('get', 16_000, '-c', '1');
  const stats = await stage.run(cli('info', 'commandstats'));
  const calls = [...stats.stdout.matchAll(/^cmdstat_(get|lpush|lpop):calls=(\d+)/gm)];
  stage.note(
    'calls',
    calls

      .map(([, name, count]) => `${name} ${count}`)
      .sort()
      .join(', '),
  );
  await noteRun('digest of all data', cli('debug', 'digest'));
  await noteRun('a value of 4 MB', cli('-x', 'set', 'large'), 'large '.repeat(700_000));
  const large = await stage.run(['sh', '-c', `redis-cli ${at.join(' ')} get large | sha256sum`]);
  stage.note('and back', large.stdout.trim());
  const insert = Array.from({ length: 20_000 }, (_, index) => `SET many:${index} ${index}\r\n`).join('');
  await noteRun('redis-cli --pipe', cli('--pipe'), insert);
  const waiting = stage.run(cli('blpop', 'queue', '20'));
  await delay(IDLE_MS);
  await noteRun('rpush', cli('rpush', 'queue', 'late'));
  stage.note('blpop', (await waiting).stdout.trim().replace('\n', ' '));
  stage.note('the session, after a pause', await ask('get greeting'));
  await noteRun('digest of all data', cli('debug', 'digest'));
  await noteRun('a wrong command', cli('incr', 'greeting'));
}

/** A cluster with nothing in it, made once: every contender has a copy. */
const template = (bed: Bed): string => join(bed.programs, 'postgres');
const postgres = (name: string): string => below('/usr/lib/postgresql', name) ?? name;

/** The server refuses to run as root, and as an uid without a name. */
function owner(): Place {
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((line) => line.startsWith('postgres:'));
  const [, , uid, gid] = entry?.split(':') ?? [];
  if (uid === undefined || gid === undefined) throw new Unavailable('there is no user postgres');
  return { uid: Number(uid), gid: Number(gid) };
}

async function makeCluster(bed: Bed): Promise<void> {
  const folder = template(bed);
  const { uid, gid } = owner();
  if (existsSync(join(folder, 'data', 'PG_VERSION'))) return;
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o777);
  const options = [
    '-U',
    'bench',
    '-A',
    'trust',
    '--no-sync',
    '--no-instructions',
    '--locale=C',
    '-E',
    'UTF8',
  ];
  const argv: Argv = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', postgres('initdb')];
  await run([...argv, '-D', join(folder, 'data'), ...options]);
}

async function postgresql(stage: Stage): Promise<void> {
  const place = owner();
  const data = join(stage.folder, 'data');
  await run(['cp', '-a', join(template(stage.bed), 'data'), data]);
  writeFileSync(join(data, 'pg_hba.conf'), 'host all all 0.0.0.0/0 trust\n');
  const settings = [
    'fsync=off',
    'autovacuum=off',
    'shared_buffers=16MB',
    'listen_addresses=0.0.0.0',
    'unix_socket_directories=',
  ];
  await stage.serve(
    [postgres('postgres'), '-D', data, '-p', String(PORT), ...settings.flatMap((one) => ['-c', one])],
    { place },
  );
  const at = ['-h', stage.address, '-p', String(PORT), '-U', 'bench'];
  // It listens before it lets anybody in.
  const isReady = async (): Promise<true | undefined> =>
    (await stage.run([postgres('pg_isready'), ...at])).code === 0 || undefined;
  await until(isReady, { what: 'PostgreSQL to let clients in', timeoutMs: 60_000, everyMs: 100 });
  const psql = (sql: string): Argv => [
    postgres('psql'),
    ...at,
    '-d',
    'postgres',
    '-XAtq',
    '-v',
    'VERBOSITY=terse',
    '-c',
    sql,
  ];
  const query = async (what: string, sql: string): Promise<void> => {
    const { code, stdout, stderr } = await stage.run(psql(sql));
    stage.note(
      what,
      `${stdout.trim()} ${stderr.trim().split('\n')[0]?.replaceAll(stage.address, 'server')}; exit ${code}`,
    );
  };
  const bench = async (what: string, ...words: string[]): Promise<void> => {
    const { code, stdout, stderr } = await stage.run([postgres('pgbench'), ...at, ...words, 'postgres']);
    const told =
      /number of transactions actually processed: (\S+)[\s\S]*number of failed transactions: (\S+)/.exec(
        stdout,
      );
    const errors = stderr.split('\n').filter((line) => /error|abort/i.test(line));
    stage.note(
      what,
      `${told?.[1] ?? '-'} done, ${told?.[2] ?? '-'} failed ${errors.join('; ')}; exit ${code}`,
    );
  };
  await bench('pgbench -i', '-i', '-s', '1', '-q');
  // At a rate, so that it lasts: connections are taken up within the first second or two.
  const lasting = ['-n', '-c', '6', '-t', '150'];
  await bench('pgbench, prepared', ...lasting, '-R', '250', '-M', 'prepared', '--random-seed=7');
  await bench(
    'pgbench, simple, read only',
    ...lasting,
    ...['-R', '400', '-S', '-M', 'simple', '--random-seed=8'],
  );
  await query(
    'accounts',
    "select count(*), md5(string_agg(aid || ':' || abalance, ',' order by aid)) from pgbench_accounts",
  );
  await query('history', 'select count(*), sum(delta) from pgbench_history');
  const copied = await stage.run([
    'sh',
    '-c',
    `${psql('').slice(0, -1).join(' ')} "copy (select * from pgbench_accounts order by aid) to stdout" | sha256sum`,
  ]);
  stage.note('COPY out', copied.stdout.trim());
  await query('a value of 4 MB', "select repeat('large ', 700000)");
  await query('a pause', 'select 1; select pg_sleep(1.5); select 2');
  await query('a statement that times out', 'set statement_timeout = 300; select pg_sleep(9)');
  await query('a wrong statement', 'select 1 / 0');
  await query('a connection that the server ends', 'select pg_terminate_backend(pg_backend_pid())');
}

async function grpc(stage: Stage): Promise<void> {
  const program: Argv = [PYTHON, join(stage.bed.programs, 'calls.py')];
  await stage.serve([...program, 'serve', String(PORT)]);
  const ask = await stage.dialogue([...program, 'call', stage.address, String(PORT), '4']);
  const step = async (line: string): Promise<void> => stage.note(line, await ask(line));
  await stage.warm('unary 40 200', () => ask('unary 40 200'));
  for (const sizes of ['200 1', '60 20000', '10 190000']) await step(`unary ${sizes}`);
  for (const what of ['down', 'up', 'both'])
    for (const sizes of ['400 100', '60 50000']) await step(`${what} ${sizes}`);
  for (const what of ['fail', 'deadline', 'cancel']) await step(what);
  await step('unary 40 200');
  await delay(IDLE_MS);
  await step('unary 40 201');
}

export const SERVICES: readonly RuntimeCase[] = [
  {
    name: 'Redis',
    what: 'redis-benchmark, redis-cli with --pipe, large values, BLPOP',
    everywhere: false,
    needs: { 'redis-server': 'redis-server', 'redis-benchmark': 'redis-tools' },
    taken: ['redis-benchmark'],
    left: { 'redis-cli': LEFT.blocks },
    play: redis,
  },
  {
    name: 'PostgreSQL',
    what: 'pgbench, COPY both ways, large values, errors, a connection that is ended',
    everywhere: false,
    needs: { '/usr/bin/pgbench': 'postgresql' },
    taken: ['pgbench', 'postgres'],
    left: { psql: LEFT.brief },
    prepare: makeCluster,
    play: postgresql,
  },
  {
    name: 'gRPC',
    what: "Python's grpcio: unary, streams of each kind, deadline, cancel, status",
    everywhere: false,
    needs: { [PYTHON]: 'python3' },
    taken: [],
    left: { python3: LEFT.edge },
    async prepare() {
      const { code } = await attempt([PYTHON, '-c', 'import grpc']);
      if (code !== 0) throw new Unavailable('grpcio is not here (python3-grpcio)');
    },
    play: grpc,
  },
];
