/** Command lines of the programs beside the CLI: benches and the suites that are run by hand. */
import { type ParseArgsConfig, parseArgs } from 'node:util';

/**
 * The command line, as node:util's parseArgs reads it. One that it does not take ends the process with exit code 2,
 * what is wrong with it, and the usage.
 */
export function flags<T extends ParseArgsConfig>(usage: string, config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    if (!(error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')))
      throw error;
    process.stderr.write(`${error.message}\n${usage}`);
    process.exit(2);
  }
}
