import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { testNetns } from '../../test/fixtures/kernel.ts';
import { resolveNetns } from '../pod/netns.ts';
import { type Attachment, Attachments } from './attachments.ts';
import { LeftMarks } from './left_marks.ts';

const folder = mkdtempSync(join(tmpdir(), 'shunt-attachments-'));
after(() => rmSync(folder, { recursive: true }));

function attachment(containerId: string, path: string, uid: string | null = 'u-1'): Attachment {
  const { cookie } = resolveNetns(path);
  const pod = { namespace: 'shop', name: 'cart', uid };
  return { containerId, ifname: 'eth0', network: 'net', pod, netns: { path, cookie }, ips: ['10.9.0.2'] };
}

test('what was put is there after a restart, the later sandbox of a pod first', () => {
  using netns = testNetns('att');
  const directory = join(folder, 'kept');
  const before = new Attachments(directory);
  before.put(attachment('z-first', netns.path));
  before.put({ ...attachment('a-second', netns.path), ifname: 'net/1' });
  before.put(attachment('other', netns.path, 'u-2'));
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  const again = new Attachments(directory);
  assert.deepEqual(
    again
      .all()
      .map(({ containerId }) => containerId)
      .sort(),
    ['a-second', 'other', 'z-first'],
  );
  assert.equal(again.ofPod({ namespace: 'shop', name: 'cart', uid: 'u-1' })?.containerId, 'a-second');
  assert.equal(again.ofPod({ namespace: 'shop', name: 'cart', uid: 'u-3' }), null);
  again.put(attachment('newest', netns.path));
  assert.equal(again.ofPod({ namespace: 'shop', name: 'cart', uid: 'u-1' })?.containerId, 'newest');
  again.delete({ containerId: 'newest', ifname: 'eth0' });
  again.delete({ containerId: 'newest', ifname: 'eth0' });
  assert.equal(new Attachments(directory).all().length, 3);
});

test('records of namespaces that are gone, and what is no record, are removed', () => {
  const directory = join(folder, 'gone');
  const first = new Attachments(directory);
  {
    using netns = testNetns('gone');
    first.put(attachment('c1', netns.path));
  }
  for (const name of ['x', 'c2:65746830.json', 'c1:65746830.json.new'])
    writeFileSync(join(directory, name), '{"cont');
  assert.deepEqual(
    first.forgetGone().map(({ containerId }) => containerId),
    ['c1'],
  );
  assert.deepEqual(new Attachments(directory).all(), []);
  assert.deepEqual(readdirSync(directory), []);
});

test('a namespace made anew at the same path is another', () => {
  const directory = join(folder, 'anew');
  using netns = testNetns('anew');
  const kept = new Attachments(directory);
  const { netns: place, ...rest } = attachment('c1', netns.path);
  kept.put({ ...rest, netns: { ...place, cookie: place.cookie + 1n } });
  assert.equal(new Attachments(directory).all().length, 0);
});

test('marks are those of the pods that are left alone, and no path leads out of their directory', () => {
  const directory = join(folder, 'left');
  const marks = new LeftMarks(directory);
  marks.set(['u-1', 'u-2', '../escape', '', 'a/b', '.']);
  assert.deepEqual(readdirSync(directory).sort(), ['u-1', 'u-2']);
  new LeftMarks(directory).set(['u-2', 'u-3']);
  assert.deepEqual(readdirSync(directory).sort(), ['u-2', 'u-3']);
});
