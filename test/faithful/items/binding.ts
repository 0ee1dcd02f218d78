/** Sockets that were bound, marked or tied to a device before they connect. */
import { ANY, type Family, PORT, type Stage } from '../stage.ts';
import { captured, type Item, look, visit } from './item.ts';

/** Long for a handshake in one machine. It passes whole where nobody answers. */
const NOBODY_MS = 1_000;
const LOOPBACK = { 4: '127.0.0.1', 6: '::1' } as const;

/** A connection tied to a device, which takes CAP_NET_RAW before Linux 5.7. */
async function tied(stage: Stage, device: string, family: Family, host: string): Promise<void> {
  await using app = await stage.app(`by ${device}, IPv${family}`, 0);
  const fd = await app.socket(family);
  await app.must('blocking', fd, 'no');
  await app.see('set', fd, 'device', device);
  const { result } = await app.see('connect', fd, host, PORT.app);
  if (result !== 'EINPROGRESS') return;
  const { ready } = await app.see('poll', fd, NOBODY_MS);
  await app.see('so-error', fd);
  if (ready === 'out ') await look(app, fd);
}

export const BINDING: readonly Item[] = [
  captured('a socket bound to an address', async ({ app, family, stage }) => {
    for (const host of [stage.pod(family), ANY[family]]) {
      const fd = await app.socket(family);
      await app.see('bind', fd, host, 0);
      await app.see('connect', fd, stage.far(family), PORT.app);
      await look(app, fd);
    }
  }),
  captured('a socket bound to an address and a port', async ({ app, family, stage }) => {
    for (const [host, port] of [
      [stage.pod(family), 12_001],
      [ANY[family], 12_002],
    ] as const) {
      const fd = await app.socket(family);
      await app.must('set', fd, 'reuse-address', 1);
      await app.see('bind', fd, host, port);
      await app.see('connect', fd, stage.far(family), PORT.app);
      await look(app, fd);
      // The same way back again: the connection before left no trace that confuses this one.
      await app.see('disconnect', fd);
      await app.see('names', fd);
      await app.must('close', fd);
    }
  }),
  captured('IP_BIND_ADDRESS_NO_PORT', async ({ app, family, stage }) => {
    const fd = await app.socket(family);
    await app.see('set', fd, 'bind-no-port', 1);
    await app.see('bind', fd, stage.pod(family), 0);
    await app.see('names', fd);
    await app.see('connect', fd, stage.far(family), PORT.app);
    await look(app, fd);
  }),
  {
    name: 'a socket bound to localhost that connects elsewhere',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app();
      for (const family of stage.families) {
        const fd = await app.socket(family);
        await app.must('blocking', fd, 'no');
        await app.see('bind', fd, LOOPBACK[family], 0);
        await app.see('connect', fd, stage.far(family), PORT.app);
      }
      // That there is a sidecar to miss.
      const fd = await app.socket(4);
      await app.see('connect', fd, stage.far(4), PORT.app);
      await look(app, fd);
    },
  },
  {
    name: 'SO_BINDTODEVICE with lo',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      await stage.server();
      const app = await stage.app();
      for (const family of stage.families) {
        await visit(app, family, stage.far(family), PORT.app);
        for (const host of [stage.far(family), LOOPBACK[family]]) await tied(stage, 'lo', family, host);
      }
    },
  },
  {
    name: 'SO_BINDTODEVICE with eth0',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app();
      for (const family of stage.families) await visit(app, family, stage.far(family), PORT.app);
      for (const family of stage.families) await tied(stage, 'eth0', family, stage.far(family));
    },
  },
  {
    name: 'SO_MARK',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app('root', 0);
      for (const family of stage.families) {
        const fd = await app.socket(family);
        await app.see('set', fd, 'mark', 4_242);
        await app.see('connect', fd, stage.far(family), PORT.app);
        await look(app, fd);
        await app.see('get', fd, 'mark');
      }
    },
  },
];
