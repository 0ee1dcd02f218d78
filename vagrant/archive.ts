/**
 * Debian's archive beside the machine's own apt: the same mirror, other suites, a state directory of ours. apt
 * itself verifies: the signed InRelease, then the SHA256 of index and package.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ShuntError } from '../src/errors.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const DEBIAN_SUITE = /^(bullseye|bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)(-|$)/;

/** Where packages come from. */
export interface Mirror {
  main: string;
  /** Of the -security suites; some mirrors have none. */
  security: string | undefined;
}

/**
 * The mirror that this machine's own sources name.
 *
 * @param main another one: URL of a Debian mirror
 * @throws SHUNT_E_VM_PACKAGE when the sources name none, as on Ubuntu
 */
export function mirrorOf(main = process.env.SHUNT_VM_MIRROR): Mirror {
  if (main !== undefined) return { main, security: undefined };
  const format = '$(REPO_URI) $(RELEASE)';
  const listed = spawnSync('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    encoding: 'utf8',
  });
  const sources = (listed.stdout ?? '')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, release = '']) => DEBIAN_SUITE.test(release));
  const uriOf = (security: boolean): string | undefined =>
    sources.find(([, release = '']) => release.includes('-security') === security)?.[0];
  const found = uriOf(false);
  if (found === undefined)
    throw new ShuntError('SHUNT_E_VM_PACKAGE', "this machine's apt sources name no mirror of Debian", {
      fix: 'name one with --mirror URL (or SHUNT_VM_MIRROR), and install debian-archive-keyring',
    });
  return { main: found, security: uriOf(true) };
}

/** Some suites of the archive, their lists fetched. Its directory goes with it. */
export class Archive implements Disposable {
  readonly #directory: string;
  readonly #options: string[];

  /**
   * @param directory made anew below it
   * @throws SHUNT_E_VM_PACKAGE when no list can be had
   */
  constructor(directory: string, mirror: Mirror, suites: readonly string[]) {
    if (!existsSync(KEYRING))
      throw new ShuntError('SHUNT_E_VM_PACKAGE', "there are no keys to check Debian's packages with", {
        target: KEYRING,
        fix: 'apt-get install debian-archive-keyring',
      });
    mkdirSync(directory, { recursive: true });
    this.#directory = mkdtempSync(join(directory, 'apt-'));
    const at = (...parts: string[]): string => join(this.#directory, ...parts);
    for (const folder of ['lists/partial', 'cache/archives/partial', 'packages'])
      mkdirSync(at(folder), { recursive: true });
    const lines = suites.flatMap((suite) => {
      const uri = suite.endsWith('-security') ? mirror.security : mirror.main;
      return uri === undefined ? [] : [`deb [signed-by=${KEYRING}] ${uri} ${suite} main\n`];
    });
    writeFileSync(at('sources.list'), lines.join(''));
    writeFileSync(at('status'), '');
    this.#options = [
      `Dir::Etc::sourcelist=${at('sources.list')}`,
      'Dir::Etc::sourceparts=/dev/null',
      'Dir::Etc::preferences=/dev/null',
      'Dir::Etc::preferencesparts=/dev/null',
      `Dir::State=${this.#directory}`,
      `Dir::State::lists=${at('lists')}`,
      `Dir::State::status=${at('status')}`,
      `Dir::Cache=${at('cache')}`,
      'APT::Sandbox::User=root',
      'APT::Update::Error-Mode=any',
      'Acquire::Retries=2',
      'Acquire::Languages=none',
      'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false',
      // What a desktop hangs on every update of the lists is of no use here.
      'APT::Update::Post-Invoke-Success::=true',
    ].flatMap((option) => ['-o', option]);
    try {
      this.#run('apt-get', ['update']);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Names of packages that begin so. */
  namesFrom(beginning: string): string[] {
    const names = this.#run('apt-cache', ['pkgnames', beginning]).split('\n');
    return names.filter((name) => name !== '');
  }

  /** Versions of a package, newest first. */
  versionsOf(name: string): string[] {
    const lines = this.#run('apt-cache', ['madison', name]).split('\n');
    const versions = lines
      .map((line) => line.split('|')[1]?.trim())
      .filter((version) => version !== undefined);
    const newestFirst = (a: string, b: string): number => (isNewer(a, b) ? -1 : 1);
    return [...new Set(versions)].sort(newestFirst);
  }

  /** Names in a package's Depends. */
  dependsOf(name: string, version: string): string[] {
    const shown = this.#run('apt-cache', ['show', '--no-all-versions', `${name}=${version}`]);
    const line = /^Depends: (.*)$/m.exec(shown)?.[1] ?? '';
    return line.split(',').map((wanted) => wanted.trim().split(/[ |(]/)[0] ?? '');
  }

  /**
   * Fetches packages and unpacks them, without installing anything.
   *
   * @param packages `name=version`
   * @param folder appears complete or not at all; what is there stays
   */
  unpack(packages: readonly string[], folder: string): void {
    const debs = join(this.#directory, 'packages');
    this.#run('apt-get', ['download', ...packages], debs);
    const tree = join(this.#directory, 'tree');
    for (const deb of readdirSync(debs)) {
      execFileSync('dpkg-deb', ['-x', join(debs, deb), tree]);
      rmSync(join(debs, deb));
    }
    mkdirSync(dirname(folder), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(tree, folder);
  }

  #run(command: string, args: string[], cwd = this.#directory): string {
    const { status, stdout, stderr, error } = spawnSync(command, [...this.#options, ...args], {
      cwd,
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
      maxBuffer: 64 << 20,
    });
    if (status === 0) return stdout;
    const said = (error?.message ?? stderr).split('\n').filter((line) => /^[EW]: |ENOENT/.test(line));
    throw new ShuntError(
      'SHUNT_E_VM_PACKAGE',
      `${command} ${args[0]} failed: ${said.at(0) ?? stderr.trim()}`,
    );
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function isNewer(a: string, b: string): boolean {
  return spawnSync('dpkg', ['--compare-versions', a, 'gt', b]).status === 0;
}
