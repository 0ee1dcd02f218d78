import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadEverything } from '../test/loaded.ts';
import { listen, openSocket } from '../test/place.ts';
import { attachSockmapProgram, detachSockmapProgram } from './link.ts';

test('a socket goes into a sockhash by its descriptor and is read back as its cookie', async () => {
  await using server = await listen();
  using one = await openSocket(server.port);
  using two = await openSocket(server.port);
  using object = await loadEverything();
  const { socks } = object.maps;
  socks.setFd({ cookie: 1n }, one.fd);
  socks.setFd({ cookie: 2n }, two.fd);
  const cookies = new Map([...socks].map(([{ cookie }, value]) => [cookie, value]));
  assert.deepEqual([...cookies.keys()].sort(), [1n, 2n]);
  assert.notEqual(cookies.get(1n), cookies.get(2n));
  assert.equal(socks.get({ cookie: 1n }), cookies.get(1n));
  assert.ok((cookies.get(1n) ?? 0n) > 0n);
  assert.equal(socks.size(), 2);
  assert.throws(() => socks.setFd({ cookie: 1n }, two.fd, 'noexist'), { code: 'EEXIST' });
  assert.throws(() => socks.setFd({ cookie: 3n }, socks.fd), { code: 'ENOTSOCK' });
  assert.ok(socks.delete({ cookie: 1n }));
  assert.deepEqual([...socks.keys()], [{ cookie: 2n }]);
});

test('a verdict program is attached to a sockhash, sees its messages, and is detached', async () => {
  await using server = await listen();
  using object = await loadEverything();
  using sender = await openSocket(server.port);
  const { socks, slots } = object.maps;
  const { message } = object.programs;
  attachSockmapProgram(message, socks);
  socks.setFd({ cookie: 1n }, sender.fd);
  const write = () => new Promise((resolve) => sender.socket.write('x', resolve));
  await write();
  assert.equal(slots.get(3), 1n);
  detachSockmapProgram(message, socks);
  assert.throws(() => detachSockmapProgram(message, socks), { code: 'ENOENT' });
  socks.clear();
  await write();
  assert.equal(slots.get(3), 1n);
});

test('storage of a socket is set, read and deleted by its descriptor', async () => {
  await using server = await listen();
  using socket = await openSocket(server.port);
  using object = await loadEverything();
  const { notes } = object.maps;
  assert.equal(notes.get(socket.fd), undefined);
  notes.set(socket.fd, { marks: 3n, verdict: 'VERDICT_REDIRECT' });
  assert.deepEqual(notes.get(socket.fd), { marks: 3n, verdict: 'VERDICT_REDIRECT' });
  assert.ok(notes.delete(socket.fd));
  assert.ok(!notes.delete(socket.fd));
  assert.throws(() => notes.set(notes.fd, { marks: 0n, verdict: 'VERDICT_PASS' }), { code: 'ENOTSOCK' });
});

test('storage cannot be walked, and the error names what can', async () => {
  using object = await loadEverything();
  for (const walk of [
    () => [...object.maps.notes],
    () => [...object.maps.notes.keys()],
    () => object.maps.notes.size(),
  ]) {
    assert.throws(walk, { code: 'ENOTSUP', hint: /iter\/bpf_sk_storage_map/ });
  }
});
