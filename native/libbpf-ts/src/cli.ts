#!/usr/bin/env node
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { BpfError } from './errors.ts';
import { emit } from './gen/emit.ts';
import { readModel } from './gen/model.ts';

const USAGE = `usage: libbpf-ts gen OBJECT.bpf.o... [-o FILE.ts] [--name NAME] [--import MODULE] [--check]

Writes TypeScript types and codecs of BPF object files compiled with -g, and a defineObject() for each. Types that
several objects share are written once.

  -o, --output FILE  where to write; standard output without it
  --name NAME        name of the exported definition, for one object (default: from the file name)
  --import MODULE    what the file imports from (default: libbpf-ts)
  --check            write nothing; exit 1 when FILE is not what would be written
`;

/** @returns the exit status: 0 done, 1 failed or stale, 2 wrong usage */
function main(argv: readonly string[]): number {
  const [command, ...rest] = argv;
  if (command === '--help' || command === '-h' || command === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  if (command !== 'gen') {
    process.stderr.write(USAGE);
    return 2;
  }
  const parsed = parse(rest);
  if (parsed === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const { files, output, name, importFrom, check } = parsed;
  const objects = files.map((file) => ({
    model: readModel(readFileSync(file)),
    name: name ?? basename(file).replace(/(\.bpf)?\.o$/, ''),
    source: basename(file),
  }));
  const text = emit(objects, importFrom);
  if (output === undefined) {
    process.stdout.write(text);
    return 0;
  }
  const current = readIfThere(output) === text;
  if (check && !current) {
    process.stderr.write(
      `${relative('.', output)} is stale: run libbpf-ts gen ${files.join(' ')} -o ${output}\n`,
    );
    return 1;
  }
  if (!current) writeFileSync(output, text);
  return 0;
}

function parse(args: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        output: { type: 'string', short: 'o' },
        name: { type: 'string' },
        import: { type: 'string', default: 'libbpf-ts' },
        check: { type: 'boolean', default: false },
      },
    });
    const { output, name, check } = values;
    const one = positionals.length === 1;
    if (positionals.length === 0 || (name !== undefined && !one) || (check && output === undefined)) {
      return undefined;
    }
    return { files: positionals, output, name, importFrom: values.import, check };
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Error)) throw error;
  process.stderr.write(`libbpf-ts: ${error.message}\n`);
  if (error instanceof BpfError && error.hint !== undefined) process.stderr.write(`  ${error.hint}\n`);
  process.exitCode = 1;
}
