import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { libbpf, libc } from './ffi.ts';

/** Asks for libbpf's version in a process that finds `library` in its place. */
function withLibrary(
  library: string,
  call = 'libbpfVersion()',
): { code: string; message: string; hint: string } {
  const ffi = new URL('ffi.ts', import.meta.url).href;
  const script = `
    import { libbpf, libbpfVersion } from ${JSON.stringify(ffi)};
    try { ${call}; process.exitCode = 3; }
    catch ({ code, message, hint }) { console.log(JSON.stringify({ code, message, hint })); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, LIBBPF_TS_LIBRARY: library },
  });
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

/** Builds a libbpf with nothing but a version. */
function stub(directory: string, major: number, minor: number): string {
  const source = join(directory, 'stub.c');
  const library = join(directory, `libbpf-${major}.${minor}.so`);
  writeFileSync(
    source,
    `unsigned libbpf_major_version(void) { return ${major}; }
     unsigned libbpf_minor_version(void) { return ${minor}; }
     const char *libbpf_version_string(void) { return "v${major}.${minor}"; }
     void *libbpf_set_print(void *print) { return print; }\n`,
  );
  const built = spawnSync('cc', ['-shared', '-fPIC', '-o', library, source], { encoding: 'utf8' });
  assert.equal(built.status, 0, built.stderr);
  return library;
}

test('a machine without libbpf is told what to install', () => {
  const error = withLibrary('libbpf-that-is-not-there.so');
  assert.equal(error.code, 'LIBBPF_MISSING');
  assert.match(error.hint, /install libbpf 1\.1/);
});

test('a libbpf that is too old is named with the version that is needed', () => {
  const directory = mkdtempSync(join(tmpdir(), 'libbpf-ts-'));
  try {
    const old = withLibrary(stub(directory, 0, 8));
    assert.equal(old.code, 'LIBBPF_TOO_OLD');
    assert.match(old.message, /found libbpf 0\.8, need 1\.1 or newer/);
    const early = withLibrary(stub(directory, 1, 0));
    assert.match(early.message, /found libbpf 1\.0, need 1\.1/);
    // One that is new enough but lacks a function fails when that function is used, and only then.
    const lacking = withLibrary(stub(directory, 1, 1), 'libbpfVersion(); libbpf.bpf_iter_create(0)');
    assert.equal(lacking.code, 'LIBBPF_TOO_OLD');
    assert.match(lacking.message, /bpf_iter_create/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('every function that is bound exists in the oldest libbpf that is supported', () => {
  const names = Object.getOwnPropertyNames(libbpf);
  assert.ok(names.length > 50);
  for (const name of names) assert.equal(typeof Reflect.get(libbpf, name), 'function', name);
  for (const name of Object.getOwnPropertyNames(libc))
    assert.equal(typeof Reflect.get(libc, name), 'function', name);
});
