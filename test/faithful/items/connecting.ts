/** Ways to call connect(). */
import { ANY, PORT, Unavailable } from '../stage.ts';
import { captured, type Item, look, visit } from './item.ts';

/** Long for a handshake in one machine. It passes whole where nobody answers. */
const NOBODY_MS = 300;
const SOON_MS = 20_000;

export const CONNECTING: readonly Item[] = [
  captured('a blocking connect', async ({ app, family, stage }) => {
    const fd = await app.socket(family);
    await app.see('names', fd);
    await app.see('connect', fd, stage.far(family), PORT.app);
    await look(app, fd);
    await app.see('so-error', fd);
    await app.see('connect', fd, stage.far(family), PORT.app);
    await visit(app, family, stage.far(family), PORT.excluded);
  }),
  captured('a non-blocking connect', async ({ app, family, stage }) => {
    const fd = await app.socket(family);
    await app.must('blocking', fd, 'no');
    await app.see('connect', fd, stage.far(family), PORT.app);
    await app.see('poll', fd, SOON_MS);
    await app.see('so-error', fd);
    await app.see('connect', fd, stage.far(family), PORT.app);
    await app.see('connect', fd, stage.far(family), PORT.app);
    await look(app, fd);
  }),
  captured('a socket that connects again after it was refused', async ({ app, family, stage }) => {
    for (const blocking of ['yes', 'no']) {
      const fd = await app.socket(family);
      await app.must('blocking', fd, blocking);
      await app.see('connect', fd, stage.node(family), PORT.excluded);
      if (blocking === 'no') await app.see('poll', fd, SOON_MS);
      await app.see('so-error', fd);
      await app.see('names', fd);
      await app.must('blocking', fd, 'yes');
      await app.see('connect', fd, stage.far(family), PORT.app);
      await look(app, fd);
    }
  }),
  {
    name: 'a socket that connects again when the sidecar is back',
    like: 'iptables',
    async run(stage) {
      const app = await stage.app();
      for (const family of stage.families) {
        const fd = await app.socket(family);
        await app.see('connect', fd, stage.far(family), PORT.app);
        await app.see('names', fd);
        await app.see('disconnect', fd);
        await using _ = await stage.sidecar();
        await app.see('connect', fd, stage.far(family), PORT.app);
        await look(app, fd);
      }
    },
  },
  captured(
    'a socket that AF_UNSPEC disconnects and that connects elsewhere',
    async ({ app, family, stage }) => {
      const fd = await app.socket(family);
      await app.see('disconnect', fd);
      for (const port of [PORT.app, PORT.excluded, PORT.many, PORT.excluded, PORT.app]) {
        await app.see('connect', fd, stage.far(family), port);
        await look(app, fd);
        await app.see('disconnect', fd);
        await app.see('names', fd);
      }
    },
  ),
  {
    name: 'a refused connect, for want of a sidecar',
    like: 'iptables',
    async run(stage) {
      const app = await stage.app();
      for (const family of stage.families) {
        const fd = await app.socket(family);
        await app.see('connect', fd, stage.far(family), PORT.app);
        await app.see('so-error', fd);
        const other = await app.socket(family);
        await app.must('blocking', other, 'no');
        await app.see('connect', other, stage.far(family), PORT.app);
        await app.see('poll', other, SOON_MS);
        await app.see('so-error', other);
        await app.see('so-error', other);
        await app.see('send', other, 'late');
      }
      await stage.sidecar();
      await visit(app, 4, stage.far(4), PORT.app);
    },
  },
  {
    name: 'a connect that nobody answers',
    like: 'iptables',
    async run(stage) {
      // A listener whose queue is full drops further SYNs. Accepted is none; a queue of 0 holds one.
      const sidecar = await stage.proxy();
      const app = await stage.app();
      for (const family of stage.families) {
        const where = { family, host: ANY[family], port: PORT.outbound };
        const listener = await sidecar.listen({ ...where, backlog: 0 });
        const waiting: number[] = [];
        for (let i = 0; i < 3; i++) {
          const fd = await app.socket(family);
          await app.must('blocking', fd, 'no');
          await app.see('connect', fd, stage.far(family), PORT.app);
          waiting.push(fd);
        }
        if (!stage.redirects) continue;
        for (const [index, fd] of waiting.entries()) {
          await app.see('poll', fd, index === 0 ? SOON_MS : NOBODY_MS);
          await app.see('so-error', fd);
          await app.see('connect', fd, stage.far(family), PORT.app);
        }
        const { from } = await sidecar.see('accept', listener);
        stage.observation.note('accepted', typeof from === 'string' ? 'sidecar: one' : 'none');
        await sidecar.must('close', listener);
      }
    },
  },
  {
    name: 'a blocking connect that times out',
    like: 'iptables',
    async run(stage) {
      const sidecar = await stage.proxy();
      const listener = await sidecar.listen({ family: 4, host: ANY[4], port: PORT.outbound, backlog: 0 });
      const app = await stage.app();
      const first = await app.socket(4);
      await app.see('connect', first, stage.far(4), PORT.app);
      if (!stage.redirects) return;
      for (const option of ['send-timeout', 'user-timeout']) {
        const fd = await app.socket(4);
        await app.must('set', fd, option, NOBODY_MS);
        // The kernel's own patience ends after the second SYN, 3 s; the other two are shorter.
        await app.must('set', fd, 'syn-count', 1);
        await app.see('connect', fd, stage.far(4), PORT.app);
        await app.see('so-error', fd);
      }
      stage.observation.note(
        'accepted',
        (await sidecar.quietly('accept', listener)).result === 'ok' ? 'sidecar: one' : 'none',
      );
    },
  },
  {
    name: 'connect to 0.0.0.0 and ::',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      await stage.server();
      const app = await stage.app();
      for (const family of stage.families) {
        await visit(app, family, ANY[family], PORT.app);
        await visit(app, family, ANY[family], PORT.many);
        await visit(app, family, stage.far(family), PORT.app);
      }
    },
  },
  {
    name: 'IPv4-mapped addresses on IPv6 sockets',
    like: 'iptables',
    async run(stage) {
      if (!stage.families.includes(6)) throw new Unavailable('the kernel has no IPv6');
      await stage.sidecar();
      await stage.server();
      const app = await stage.app();
      await visit(app, 6, `::ffff:${stage.far(4)}`, PORT.app);
      await visit(app, 6, `::ffff:${stage.far(4)}`, PORT.excluded);
      await visit(app, 6, '::ffff:127.0.0.1', PORT.app);
      await visit(app, 6, '::ffff:0.0.0.0', PORT.app);
      const again = await app.socket(6);
      for (const port of [PORT.app, PORT.excluded, PORT.many]) {
        await app.see('connect', again, `::ffff:${stage.far(4)}`, port);
        await look(app, again);
        await app.see('disconnect', again);
        await app.see('names', again);
      }
      const bound = await app.socket(6);
      await app.see('bind', bound, `::ffff:${stage.pod(4)}`, 0);
      await app.see('connect', bound, `::ffff:${stage.far(4)}`, PORT.app);
      await look(app, bound);
      const waiting = await app.socket(6);
      await app.must('blocking', waiting, 'no');
      await app.see('connect', waiting, `::ffff:${stage.far(4)}`, PORT.app);
      await app.see('poll', waiting, SOON_MS);
      await look(app, waiting);
    },
  },
  {
    name: 'IPV6_V6ONLY on the client and on the listener',
    like: 'iptables',
    async run(stage) {
      if (!stage.families.includes(6)) throw new Unavailable('the kernel has no IPv6');
      const sidecar = await stage.proxy();
      await sidecar.serve({ name: 'sidecar:15001', host: '::', family: 6, port: PORT.outbound });
      const app = await stage.app();
      const fd = await app.socket(6);
      await app.must('set', fd, 'v6only', 1);
      await app.see('connect', fd, `::ffff:${stage.far(4)}`, PORT.app);
      await app.see('connect', fd, stage.far(6), PORT.app);
      await look(app, fd);
      // Nobody listens for IPv4 now.
      await visit(app, 4, stage.far(4), PORT.app);
      await visit(app, 6, `::ffff:${stage.far(4)}`, PORT.app);
    },
  },
  captured('connect by io_uring', async ({ app, family, stage }) => {
    for (const how of [[], ['async']]) {
      const fd = await app.socket(family);
      const answer = await app.see('ring-connect', fd, stage.far(family), PORT.app, ...how);
      if ('unavailable' in answer) throw new Unavailable(`io_uring_setup: ${answer.unavailable}`);
      await look(app, fd);
    }
  }),
];
