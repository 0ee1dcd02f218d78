import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { loadEverything } from '../test/loaded.ts';
import { features } from './features.ts';
import { libbpfVersion, MINIMUM_LIBBPF } from './ffi.ts';

test('what the probe says is what loading says', async () => {
  using object = await loadEverything(); // it loads, so the probe must find all of its parts
  const found = await features.probe();
  for (const map of Object.values(object.maps)) {
    if (map.type in found.maps) {
      assert.deepEqual(Object.entries(found.maps).find(([type]) => type === map.type)?.[1], {
        supported: true,
      });
    }
  }
  for (const program of Object.values(object.programs)) {
    const support = Object.entries(found.programs).find(([hook]) => hook === program.attachType)?.[1];
    assert.deepEqual(support, { supported: true }, program.name);
  }
  assert.equal(found.kernelBtf, existsSync('/sys/kernel/btf/vmlinux'));
  assert.equal(found.libbpf, libbpfVersion().text);
});

test('the probe leaves nothing open', async () => {
  const held = () => readdirSync('/proc/self/fd').length;
  await features.probe();
  const before = held();
  await features.probe();
  assert.equal(held(), before);
});

test('without privileges the probe answers all the same: EPERM, and where', () => {
  const script = `
    import { features } from ${JSON.stringify(new URL('features.ts', import.meta.url).href)};
    import { libbpfVersion } from ${JSON.stringify(new URL('ffi.ts', import.meta.url).href)};
    // Loads koffi and libbpf while they can be read, wherever the checkout lies.
    libbpfVersion();
    process.setuid(65534);
    console.log(JSON.stringify(await features.probe()));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  const found = JSON.parse(stdout);
  assert.deepEqual(found.programs.cgroup_inet4_connect, { supported: false, code: 'EPERM' });
  assert.deepEqual(found.programs.sk_lookup, { supported: false, code: 'EPERM' });
  assert.deepEqual(found.iterators.tcp, { supported: false, code: 'EPERM' });
  assert.deepEqual(found.links.cgroup, { supported: false, code: 'EPERM' });
});

test('libbpf is new enough, and says its version', () => {
  const { major, minor, text } = libbpfVersion();
  assert.ok(major > MINIMUM_LIBBPF.major || minor >= MINIMUM_LIBBPF.minor);
  assert.equal(text, `v${major}.${minor}`);
});
