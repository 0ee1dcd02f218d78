import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { testBpffs } from '../../../test/fixtures/bpffs.ts';
import { testNetns } from '../../../test/fixtures/kernel.ts';
import { ShuntError } from '../../errors.ts';
import { cgroup2Mounts } from '../../pod/cgroup.ts';
import { hasCookies, resolveNetns } from '../../pod/netns.ts';
import { builtObjects } from './compile.ts';
import { CookieFinder } from './cookie_finder.ts';
import { DEFAULT_SIZES, Objects } from './objects.ts';
import { Pins } from './pins.ts';

async function finder(): Promise<CookieFinder & Disposable> {
  using bpffs = testBpffs();
  const objects = new Objects(builtObjects(), new Pins(bpffs.path), DEFAULT_SIZES);
  return new CookieFinder(await objects.loadCookie());
}

const skip = hasCookies() ? false : 'the kernel has no SO_NETNS_COOKIE to compare with';

test('a namespace has the cookie that SO_NETNS_COOKIE tells, each its own', { skip }, async () => {
  using found = await finder();
  using a = testNetns('a');
  using b = testNetns('b');
  for (const { path } of [a, b, a]) assert.equal(found.find(path), resolveNetns(path).cookie);
  assert.notEqual(found.find(a.path), found.find(b.path));
});

test('a namespace that takes the number of one that is gone is not taken for it', async () => {
  using found = await finder();
  const cookies = Array.from({ length: 3 }, () => {
    using netns = testNetns('again');
    return found.find(netns.path);
  });
  assert.equal(new Set(cookies).size, 3);
});

test('no cgroup stays, also when the namespace cannot be entered', async () => {
  using found = await finder();
  using netns = testNetns('a');
  found.find(netns.path);
  assert.throws(
    () => found.find('/proc/self/status'),
    (error) => error instanceof ShuntError && error.code === 'SHUNT_E_NETNS_COOKIE',
  );
  assert.ok(!readdirSync(cgroup2Mounts()[0]).some((name) => name.startsWith('shunt-cookie-')));
});
