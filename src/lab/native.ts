import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { inPath, labSource } from './checkout.ts';
import { run, toolMissing } from './command.ts';

let serial = 0;

/**
 * Compiles one file of src/lab/native; takes about a tenth of a second.
 *
 * @param name without `.c`
 * @param folder where the result goes, on a file system that allows execution
 * @returns path of the program or shared object
 * @throws SHUNT_E_LAB_TOOL without a C compiler, SHUNT_E_LAB_COMMAND when it does not compile
 */
export async function compile(name: string, folder: string, kind: 'program' | 'shared'): Promise<string> {
  const compiler = inPath('clang') ?? inPath('gcc') ?? inPath('cc') ?? toolMissing('clang');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const output = join(folder, kind === 'shared' ? `${name}.so` : name);
  const flags = kind === 'shared' ? ['-shared', '-fPIC'] : [];
  // Somebody may run the one that is there, or compile another at this moment: it is replaced as a whole.
  const made = `${output}.${serial++}`;
  await run([compiler, '-O2', '-Wall', '-Werror', ...flags, '-o', made, labSource('native', `${name}.c`)]);
  renameSync(made, output);
  return output;
}
