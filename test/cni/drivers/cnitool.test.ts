/** The chain under cnitool, which is libcni's own: CHECK, GC and STATUS, which no runtime here calls. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { attempt, type CommandResult } from '../../../src/lab/command.ts';
import { within } from '../../../src/lab/topology.ts';
import { CniBed } from '../bed.ts';
import { PLUGIN, podArgs } from '../plugin.ts';

/** Made by set-up (.ci/setup/cni-tools.mjs). */
const TOOLS = join(import.meta.dirname, '../../../.cache/cni/bin');
const skip = !existsSync(join(TOOLS, 'cnitool')) && 'cnitool is not built: it needs Go 1.23';

describe('under cnitool', { skip }, () => {
  let bed: CniBed;
  let [netDir, netns] = ['', ''];
  before(async () => {
    bed = await CniBed.open('cnitool', []);
    netDir = join(bed.folder, 'net.d');
    mkdirSync(netDir);
    cpSync(PLUGIN, join(bed.folder, 'bin', 'shunt-cni'));
    netns = `${bed.topology.prefix}-pod`;
    execFileSync('ip', ['netns', 'add', netns]);
    const bridge = {
      ...{ type: 'bridge', bridge: 'ctr0', isGateway: true },
      ipam: { type: 'host-local', dataDir: join(bed.folder, 'ipam'), ranges: [[{ subnet: '10.78.0.0/24' }]] },
    };
    const shunt = { type: 'shunt-cni', socket: bed.cniSocket, left: join(bed.folder, 'run', 'left') };
    const list = { cniVersion: '1.1.0', name: netns, plugins: [bridge, shunt] };
    writeFileSync(join(netDir, '10-net.conflist'), JSON.stringify(list));
    bed.write({ name: 'web', uid: 'uid-web' });
    await bed.start();
    await bed.settled((pods) => pods[0]);
  });
  after(async () => {
    if (netns !== '') execFileSync('ip', ['netns', 'delete', netns]);
    await bed?.[Symbol.asyncDispose]();
  });

  /** In the namespace that takes the bridge. */
  const cnitool = (verb: string): Promise<CommandResult> => {
    const env = [
      `CNI_PATH=${TOOLS}:${join(bed.folder, 'bin')}`,
      `NETCONFPATH=${netDir}`,
      `CNI_ARGS=${podArgs('default', 'web', 'uid-web')}`,
    ];
    const argv = ['env', ...env, join(TOOLS, 'cnitool'), verb, netns, `/run/netns/${netns}`] as const;
    return attempt(within(bed.topology.node, argv));
  };
  const held = async () => (await bed.client.pods()).filter(({ held }) => held !== null).length;

  it('STATUS, ADD, CHECK and DEL go through, and CHECK finds what is missing', async () => {
    assert.equal((await cnitool('status')).code, 0);
    const add = await cnitool('add');
    assert.equal(add.code, 0, add.stderr);
    assert.match(add.stdout, /10\.78\.0\.\d+/);
    assert.equal(await held(), 1);
    const good = await cnitool('check');
    assert.equal(good.code, 0, good.stderr);
    const [pod] = await bed.client.pods();
    await bed.breakInbound(pod?.netns?.cookie ?? '');
    const bad = await cnitool('check');
    assert.equal(bad.code, 1);
    assert.match(bad.stderr + bad.stdout, /inbound steering is not attached/);
    await bed.client.reconcile();
    assert.equal((await cnitool('check')).code, 0);
    assert.equal((await cnitool('del')).code, 0);
    assert.equal(await held(), 0);
    assert.equal((await cnitool('del')).code, 0, 'once more');
  });

  it('GC takes out what DEL was never called for', async () => {
    assert.equal((await cnitool('add')).code, 0);
    const gc = await cnitool('gc');
    assert.equal(gc.code, 0, gc.stderr);
    assert.equal(await held(), 0);
  });

  it('STATUS and ADD fail without an agent, and DEL does not', async () => {
    await bed.stop('SIGKILL');
    const status = await cnitool('status');
    assert.equal(status.code, 1);
    assert.match(status.stderr + status.stdout, /no agent answers on/);
    const add = await cnitool('add');
    assert.equal(add.code, 1);
    assert.match(add.stderr + add.stdout, /no agent answers on/);
    assert.equal((await cnitool('del')).code, 0);
  });
});
