/** The settings file of a running agent: read again on SIGHUP, and never half. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FaultBed } from './bed.ts';

describe('an agent that is sent SIGHUP', () => {
  let bed: FaultBed;
  let current: string;
  before(async () => {
    bed = await FaultBed.open('settings');
    current = join(bed.lab.folder, 'config');
    put('first', 'excludeNamespaces: [elsewhere]\n');
    const status = await bed.start('--config', join(current, 'shunt.yaml'));
    assert.equal(status.pods.enrolled, 2);
    assert.ok(await bed.redirected());
  });
  after(() => bed?.[Symbol.asyncDispose]());

  /** Another folder in place of the one that the agent watches: of this it hears nothing. */
  function put(name: string, settings: string): void {
    const folder = join(bed.lab.folder, `config-${name}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'shunt.yaml'), settings);
    symlinkSync(folder, `${current}.new`);
    renameSync(`${current}.new`, current);
  }

  async function hangUp(): Promise<void> {
    const { pid } = await bed.client.status();
    process.kill(pid, 'SIGHUP');
  }

  it('takes the settings as they stand now, and its pods with them', async () => {
    put('second', 'excludeNamespaces: [default]\n');
    await bed.client.reconcile();
    assert.equal((await bed.client.status()).pods.enrolled, 2, 'the change was seen without a signal');
    await hangUp();
    const { status, pods } = await bed.settled((seen) => seen.pods.left === 2);
    assert.equal(status.settings.error, null);
    assert.match(pods[0]?.reason ?? '', /the settings exclude the namespace default/);
    assert.equal(bed.log().filter(({ event }) => event === 'settings').length, 1);
    assert.equal(await bed.redirected().catch(() => false), false);
  });

  it('keeps the last good settings when the file is wrong, and says which key', async () => {
    put('third', 'excludeNamespaces: [elsewhere]\n');
    await hangUp();
    await bed.settled((seen) => seen.pods.enrolled === 2);
    put('fourth', 'excludeNamespaces: [default]\nistio: {outboundPort: 1}\n');
    await hangUp();
    const { status } = await bed.settled((seen) => seen.settings.error !== null);
    assert.equal(status.settings.error?.code, 'SHUNT_E_SETTINGS');
    assert.match(status.settings.error?.message ?? '', /istio\.outboundPort: there is no such setting/);
    await bed.client.reconcile();
    assert.equal((await bed.client.status()).pods.enrolled, 2);
    assert.ok(await bed.redirected());
    assert.ok(bed.log().some(({ event }) => event === 'settings-rejected'));
  });

  it('is well again with the next good file, and goes on running all the while', async () => {
    const { pid } = await bed.client.status();
    put('fifth', 'excludeNamespaces: [nowhere]\n');
    await hangUp();
    const { status } = await bed.settled((seen) => seen.settings.error === null);
    assert.deepEqual([status.pid, status.pods.enrolled], [pid, 2]);
    assert.ok(await bed.redirected());
  });
});
