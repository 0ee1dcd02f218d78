/** Sockets that change hands, and processes of every kind. */
import type { Puppet } from '../puppet.ts';
import { ANY, PORT } from '../stage.ts';
import { captured, type Item, look, visit } from './item.ts';

/** A line between two processes over which descriptors pass; ends of both. */
async function lineBetween(from: Puppet, to: Puppet): Promise<[number, number]> {
  const door = await to.socket('unix');
  await to.must('bind', door, `@${from.name}-${to.name}`, 0);
  await to.must('listen', door, 1);
  const near = await from.socket('unix');
  await from.must('connect', near, `@${from.name}-${to.name}`, 0);
  return [near, await to.must('accept', door)];
}

export const PROCESSES: readonly Item[] = [
  captured('a duplicate of a socket', async ({ app, family, stage }) => {
    const fd = await app.socket(family);
    const early = await app.must('dup', fd);
    await app.see('connect', early, stage.far(family), PORT.app);
    const late = await app.must('dup', fd);
    await app.must('close', fd);
    await app.see('names', early);
    await app.must('close', early);
    await look(app, late);
  }),
  captured('a socket that a forked child connects', async ({ app, family, stage }) => {
    const fd = await app.socket(family);
    await app.see('fork', 'connect', fd, stage.far(family), PORT.app);
    await app.see('fork', 'names', fd);
    await look(app, fd);
    const other = await app.socket(family);
    await app.see('connect', other, stage.far(family), PORT.app);
    await app.see('fork', 'banner', other);
    await app.see('fork', 'exchange', other, 9_000);
    await app.see('names', other);
  }),
  captured('a program that vfork and exec started connects', async ({ app, family, stage }) => {
    const fd = await app.socket(family);
    await app.see('vfork', 'connect', fd, stage.far(family), PORT.app);
    await app.see('vfork', 'names', fd);
    await look(app, fd);
  }),
  {
    name: 'a socket passed by SCM_RIGHTS, before and after it connects',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app();
      const other = await stage.app('other', 2_000);
      const [near, distant] = await lineBetween(app, other);
      for (const family of stage.families) {
        const early = await app.socket(family);
        await app.must('pass', early, near);
        const taken = await other.must('take', distant);
        await other.see('connect', taken, stage.far(family), PORT.app);
        await other.see('names', taken);
        await app.see('names', early);
        await look(app, early);
        const late = await app.socket(family);
        await app.see('connect', late, stage.far(family), PORT.app);
        await app.must('pass', late, near);
        await app.must('close', late);
        await look(other, await other.must('take', distant));
      }
    },
  },
  {
    name: "a socket of the application's that the sidecar connects, and the other way round",
    like: 'iptables',
    async run(stage) {
      const sidecar = await stage.sidecar();
      const app = await stage.app();
      const [near, distant] = await lineBetween(app, sidecar);
      const own = await app.socket(4);
      await app.must('pass', own, near);
      const taken = await sidecar.must('take', distant);
      await sidecar.see('connect', taken, stage.far(4), PORT.app);
      await look(sidecar, taken);
      const lent = await sidecar.socket(4);
      await sidecar.must('pass', lent, distant);
      const borrowed = await app.must('take', near);
      await app.see('connect', borrowed, stage.far(4), PORT.app);
      await look(app, borrowed);
      await visit(app, 4, stage.far(4), PORT.many);
    },
  },
  {
    name: 'applications of other users and groups, and root',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      for (const id of [0, 1_000, 2_000, 65_534]) {
        await using app = await stage.app(`user${id}`, id);
        for (const family of stage.families) await visit(app, family, stage.far(family), PORT.app);
      }
    },
  },
  {
    name: 'the sidecar itself',
    like: 'iptables',
    async run(stage) {
      const sidecar = await stage.sidecar();
      await stage.server();
      for (const family of stage.families) {
        await visit(sidecar, family, stage.far(family), PORT.app);
        await visit(sidecar, family, stage.pod(family), PORT.app);
        const fd = await sidecar.socket(family);
        if (family === 4) await sidecar.must('bind', fd, '127.0.0.6', 0);
        await sidecar.see('connect', fd, family === 4 ? stage.pod(4) : '::1', PORT.app);
        await look(sidecar, fd);
      }
    },
  },
  {
    name: "accept4's flags",
    like: 'iptables',
    async run(stage) {
      const sidecar = await stage.proxy();
      const app = await stage.app();
      const listener = await sidecar.listen({ family: 4, host: ANY[4], port: PORT.outbound });
      await sidecar.must('blocking', listener, 'no');
      await sidecar.see('accept', listener);
      for (const flags of [[], ['nonblock'], ['cloexec'], ['nonblock', 'cloexec']]) {
        const fd = await app.socket(4);
        await app.see('connect', fd, stage.far(4), PORT.app);
        if (!stage.redirects) continue;
        const accepted = await sidecar.see('accept', listener, ...flags);
        await sidecar.see('flags', Number(accepted.fd));
        await sidecar.see('names', Number(accepted.fd));
        await sidecar.see('original', Number(accepted.fd), 'ip', '16');
      }
      stage.observation.note('accepted', stage.redirects ? 'sidecar: yes' : 'no');
    },
  },
];
