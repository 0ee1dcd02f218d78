/** Sidecars whose listeners come and go, and that are older or younger than the agent. */
import type { Puppet } from '../puppet.ts';
import { ANY, type Family, PORT, type Stage } from '../stage.ts';
import { type Item, visit } from './item.ts';

const LISTENED = [PORT.outbound, PORT.inbound] as const;
/** Enough that each worker of a few gets some. */
const ROUND = 24;
/** Connections that are tried while a sidecar restarts. */
const UNDER_LOAD = 400;

/** A worker of a sidecar: listeners of its own beside those of the others. */
function worker(stage: Stage, name: string): Promise<Puppet> {
  return stage.sidecar({ name, sockets: { 'reuse-port': 1 } });
}

/** Connections one after the other, out of the pod and into it; recorded is only how many went well. */
async function pass(stage: Stage, count = ROUND): Promise<void> {
  const app = await stage.app();
  const outsider = await stage.outsider();
  for (const family of stage.families) {
    for (const [client, host] of [
      [app, stage.far(family)],
      [outsider, stage.pod(family)],
    ] as const) {
      const landed = new Map<string, number>();
      for (let i = 0; i < count; i++) {
        const landing = await landingOf(client, family, host);
        landed.set(landing, (landed.get(landing) ?? 0) + 1);
      }
      const text = [...landed].map(([landing, times]) => `${landing} ${times} times`).sort();
      stage.observation.note(`${client.name} to ${host}`, text.join(', '));
    }
  }
  await app[Symbol.asyncDispose]();
  await outsider[Symbol.asyncDispose]();
}

/**
 * Connections one after the other, while others see to it that somebody listens: recorded is how many were refused. What
 * waits in the queue of a listener that closes is reset, which is chance.
 */
async function refusals(stage: Stage, client: Puppet, host: string, port: number): Promise<void> {
  const { refused } = await client.quietly('burst', 'whole', UNDER_LOAD, host, port);
  stage.observation.note(`${client.name} to ${host}, refused`, Number(refused));
}

/** Which kind of process accepted: which worker did is chance. */
async function landingOf(client: Puppet, family: Family, host: string): Promise<string> {
  const fd = await client.socket(family);
  const { result } = await client.quietly('connect', fd, host, PORT.app);
  const answer =
    result === 'ok' ? await client.quietly('banner', fd) : { banner: { landing: String(result) } };
  await client.quietly('close', fd);
  const landing = typeof answer.banner === 'object' ? String(answer.banner.landing) : 'no answer';
  return landing.replace(/^(sidecar)[^:]*/, '$1');
}

export const LISTENING: readonly Item[] = [
  {
    name: 'workers with SO_REUSEPORT that come and go',
    like: 'iptables',
    async run(stage) {
      await stage.server();
      const workers: Puppet[] = [];
      for (let i = 0; i < 4; i++) workers.push(await worker(stage, `sidecar${i}`));
      await pass(stage);
      for (const gone of [2, 0, 1]) {
        await workers[gone]?.[Symbol.asyncDispose]();
        await pass(stage);
      }
      workers.push(await worker(stage, 'sidecar4'));
      await pass(stage);
      await workers[3]?.[Symbol.asyncDispose]();
      await pass(stage);
      await workers[4]?.[Symbol.asyncDispose]();
      await pass(stage, 2);
    },
  },
  {
    name: 'more workers in turn than there are slots for listeners',
    like: 'iptables',
    async run(stage) {
      let last = await worker(stage, 'sidecar0');
      for (let i = 1; i < 20; i++) {
        const next = await worker(stage, `sidecar${i}`);
        await last[Symbol.asyncDispose]();
        last = next;
      }
      await pass(stage);
    },
  },
  {
    name: 'a restart of the sidecar',
    like: 'iptables',
    async run(stage) {
      // Excluded ports listen; the application's own does not, so that nothing but a sidecar can answer.
      await stage.server([PORT.excludedInbound]);
      for (let round = 0; round < 3; round++) {
        await using sidecar = await stage.sidecar();
        await pass(stage, 3);
        await sidecar[Symbol.asyncDispose]();
        await pass(stage, 3);
      }
    },
  },
  {
    name: 'a sidecar that is gone leaves no way to the application',
    like: 'iptables',
    async run(stage) {
      const sidecar = await stage.sidecar();
      await pass(stage, 1);
      await stage.server();
      await sidecar[Symbol.asyncDispose]();
      await pass(stage, 3);
    },
  },
  {
    name: 'a hot restart by SO_REUSEPORT: the new one binds, the old one closes',
    like: 'iptables',
    async run(stage) {
      const old = await stage.proxy('sidecar-old');
      const listeners: number[] = [];
      for (const family of stage.families) {
        for (const port of LISTENED) {
          const server = { name: `sidecar:${port}`, family, host: ANY[family], port };
          listeners.push(await old.serve({ ...server, options: { 'reuse-port': 1 } }));
        }
      }
      await pass(stage, 6);
      const young = await worker(stage, 'sidecar-new');
      await pass(stage, 6);
      for (const fd of listeners) await old.must('close-server', fd);
      await pass(stage, 6);
      await old[Symbol.asyncDispose]();
      await pass(stage, 6);
      await young[Symbol.asyncDispose]();
      await pass(stage, 2);
    },
  },
  {
    name: 'a hot restart by SO_REUSEPORT, under load',
    like: 'iptables',
    async run(stage) {
      const sockets = { 'reuse-port': 1 };
      let old = await stage.sidecar({ name: 'sidecar-0', brief: true, sockets });
      const app = await stage.app();
      const outsider = await stage.outsider();
      const bursts = [
        refusals(stage, app, stage.far(4), PORT.brief),
        stage.redirects ? refusals(stage, outsider, stage.pod(4), PORT.app) : null,
      ];
      for (let round = 1; round < 4; round++) {
        const young = await stage.sidecar({ name: `sidecar-${round}`, brief: true, sockets });
        await old[Symbol.asyncDispose]();
        old = young;
      }
      await Promise.all(bursts);
      await pass(stage, 3);
    },
  },
  {
    name: 'a hot restart that hands the listeners over, under load',
    like: 'iptables',
    async run(stage) {
      const old = await stage.proxy('sidecar-old');
      const young = await stage.proxy('sidecar-new');
      const door = await old.socket('unix');
      await old.must('bind', door, '@restart', 0);
      await old.must('listen', door, 1);
      const caller = await young.socket('unix');
      await young.must('connect', caller, '@restart', 0);
      const line = await old.must('accept', door);
      const app = await stage.app();
      const bursts: Promise<unknown>[] = [];
      for (const family of stage.families) {
        const port = PORT.outbound;
        const fd = await old.serve({ name: 'sidecar:15001', family, host: ANY[family], port, brief: true });
        await old.must('pass', fd, line);
        const taken = await young.must('take', caller);
        await young.must('serve', taken, 'sidecar:15001', 'brief');
      }
      for (const family of stage.families) bursts.push(refusals(stage, app, stage.far(family), PORT.brief));
      await old[Symbol.asyncDispose]();
      await Promise.all(bursts);
      await pass(stage, 3);
    },
  },
  {
    name: 'an existing pod: listeners that are older than the agent',
    like: 'iptables',
    async run(stage) {
      await stage.withdraw();
      await stage.sidecar();
      await stage.server();
      const app = await stage.app();
      const outsider = await stage.outsider();
      for (const family of stage.families) {
        await visit(app, family, stage.far(family), PORT.app);
        await visit(outsider, family, stage.pod(family), PORT.app);
      }
      await stage.enroll();
      for (const family of stage.families) {
        await visit(app, family, stage.far(family), PORT.app);
        await visit(outsider, family, stage.pod(family), PORT.app);
        await visit(outsider, family, stage.pod(family), PORT.excludedInbound);
      }
    },
  },
  {
    name: 'an existing pod of workers, and one that is younger than the agent',
    like: 'iptables',
    async run(stage) {
      await stage.withdraw();
      const first = await worker(stage, 'sidecar0');
      const second = await worker(stage, 'sidecar1');
      await stage.enroll();
      await pass(stage, 6);
      const third = await worker(stage, 'sidecar2');
      await first[Symbol.asyncDispose]();
      await second[Symbol.asyncDispose]();
      await pass(stage, 6);
      await third[Symbol.asyncDispose]();
      await pass(stage, 2);
    },
  },
  {
    name: 'connections that are older than the agent, and outlive it',
    like: 'iptables',
    async run(stage) {
      await stage.withdraw();
      await stage.sidecar();
      await stage.server();
      const app = await stage.app();
      const outsider = await stage.outsider();
      const out = await app.socket(4);
      await app.see('connect', out, stage.far(4), PORT.app);
      await app.see('banner', out);
      const into = await outsider.socket(4);
      await outsider.see('connect', into, stage.pod(4), PORT.app);
      await outsider.see('banner', into);
      await stage.enroll();
      const through = await app.socket(4);
      await app.see('connect', through, stage.far(4), PORT.app);
      await app.see('banner', through);
      for (let round = 0; round < 2; round++) {
        await app.see('exchange', out, 5_000);
        await outsider.see('exchange', into, 5_000);
        await app.see('exchange', through, 5_000);
        await app.see('names', out);
        // Under iptables connection tracking keeps the translation; under eBPF the socket was made this way.
        if (round === 0) await stage.withdraw();
      }
      await app.see('names', through);
    },
  },
];
