/** `shunt cni install|status|uninstall` and an agent that keeps the plugin in the chain. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until } from '../../src/lab/deadline.ts';
import { type CliResult, runCli } from '../fixtures/cli.ts';
import { CniBed } from './bed.ts';

const LIST = JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }] });

describe('the chain', () => {
  let bed: CniBed;
  let [netDir, binDir, file] = ['', '', ''];
  before(async () => {
    bed = await CniBed.open('cnichain', []);
    netDir = join(bed.folder, 'net.d');
    binDir = join(bed.folder, 'bin');
    file = join(netDir, '10-a.conflist');
    mkdirSync(netDir);
  });
  after(() => bed?.[Symbol.asyncDispose]());

  const cni = (verb: string, ...more: string[]): Promise<CliResult> =>
    runCli(['cni', verb, '--net-dir', netDir, '--bin-dir', binDir, '--cni-socket', bed.cniSocket, ...more]);
  const chained = () =>
    until(() => readFileSync(file, 'utf8').includes('shunt-cni') || undefined, {
      what: 'the entry in the chain',
    });

  it('is installed, told of and taken down by hand', async () => {
    const early = await cni('install');
    assert.equal(early.code, 1);
    assert.match(early.stderr, /SHUNT_E_CNI_NO_CONF/);
    assert.match(early.stderr, /fix: install the primary CNI plugin first/);
    writeFileSync(file, LIST);
    const config = join(bed.folder, 'settings.yaml');
    writeFileSync(config, 'excludeNamespaces: [kube-system]\n');
    const wrong = await cni('install', '--own-pods', 'shunt/');
    assert.equal(wrong.code, 2);
    const install = await cni('install', '--config', config, '--own-pods', 'shunt/shunt-agent-');
    assert.deepEqual([install.code, install.stderr], [0, '']);
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')).plugins[1], {
      type: 'shunt-cni',
      socket: bed.cniSocket,
      left: join(bed.folder, 'run', 'left'),
      pass: { namespaces: ['kube-system'], pods: ['shunt/shunt-agent-'] },
    });
    assert.equal(
      (await cni('install', '--config', config, '--own-pods', 'shunt/shunt-agent-')).stdout,
      'nothing to do\n',
    );
    const status = await cni('status', '-o', 'json');
    assert.equal(status.code, 1, 'no agent answers');
    const said = JSON.parse(status.stdout);
    assert.deepEqual(
      [said.file, said.chained, said.program.state, said.answers.ok],
      [file, true, 'current', false],
    );
    assert.match(said.answers.message, /no agent answers on/);
    assert.equal((await cni('uninstall')).code, 0);
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), JSON.parse(LIST));
    assert.equal((await cni('status')).code, 1);
  });

  it('is kept by an agent, with the namespaces of its settings, until somebody uninstalls', async () => {
    const config = join(bed.folder, 'settings.yaml');
    const options = ['--cni-net-dir', netDir, '--cni-bin-dir', binDir, '--config', config];
    await bed.start(...options);
    await chained();
    assert.match(readFileSync(file, 'utf8'), /kube-system/);
    const status = await cni('status');
    assert.deepEqual([status.code, status.stderr], [0, '']);
    assert.match(status.stdout, /serves ADD/);
    writeFileSync(file, LIST);
    await chained();
    rmSync(join(binDir, 'shunt-cni'));
    writeFileSync(file, LIST);
    await chained();
    await until(() => existsSync(join(binDir, 'shunt-cni')) || undefined, { what: 'the plugin' });

    assert.equal((await cni('uninstall')).code, 0);
    assert.equal(readFileSync(file, 'utf8').includes('shunt-cni'), false);
    await until(() => bed.log().includes('cni-uninstalled') || undefined, { what: 'the agent to notice' });
    writeFileSync(file, LIST);
    assert.equal((await cni('status')).code, 1);
    await bed.stop('SIGTERM');
    await bed.start(...options);
    await chained();
  });

  it('leaves no record behind once no agent is there to need it', async () => {
    const folder = dirname(bed.cniSocket);
    const records = () =>
      readdirSync(folder).filter((name) => ['attachments', 'left', 'cni.sock'].includes(name));
    assert.equal((await cni('uninstall')).code, 0);
    assert.equal(records().length, 3, 'an agent goes on with them');
    await bed.stop('SIGKILL');
    assert.equal((await cni('uninstall')).code, 0);
    assert.deepEqual(records(), []);
    assert.equal(existsSync(join(folder, 'cni-uninstalled')), false);
  });
});
