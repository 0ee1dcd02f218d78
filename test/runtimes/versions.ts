/** Which versions were played, for the page that is made of it. */
import { inPath } from '../../src/lab/checkout.ts';
import { attempt } from '../../src/lab/command.ts';

/** A program, what makes it tell its version, and what precedes that. */
const PROGRAMS = [
  ['Python', '/usr/bin/python3', ['--version'], 'Python '],
  ['grpcio', '/usr/bin/python3', ['-c', 'import grpc; print("grpcio", grpc.__version__)'], 'grpcio '],
  ['Go', 'go', ['version'], 'go version go'],
  ['Java', 'java', ['-version'], 'version "'],
  ['curl', 'curl', ['--version'], 'curl '],
  ['HAProxy', 'haproxy', ['-v'], 'version '],
  ['nginx', 'nginx', ['-v'], 'nginx/'],
  ['Redis', 'redis-server', ['--version'], 'v='],
  ['PostgreSQL', '/usr/bin/psql', ['--version'], '\\) '],
] as const;

/** A name and a version each, of those that are here; Node's is that of this process. */
export async function versions(): Promise<string[]> {
  const told = await Promise.all(
    PROGRAMS.map(async ([name, program, words, before]) => {
      const path = program.startsWith('/') ? program : inPath(program);
      if (path === undefined) return [];
      const { stdout, stderr } = await attempt([path, ...words]).catch(() => ({ stdout: '', stderr: '' }));
      const version = new RegExp(`${before}([0-9][0-9.]*[0-9])`).exec(`${stdout}${stderr}`)?.[1];
      return version === undefined ? [] : [`${name} ${version}`];
    }),
  );
  return [`Node ${process.versions.node}`, ...told.flat()];
}
