/** What TCP does beside the plain handshake, and what is not TCP. */
import { readFileSync } from 'node:fs';
import { ANY, PORT, type Stage, Unavailable } from '../stage.ts';
import { captured, type Item, look, visit } from './item.ts';

const FASTOPEN_BOTH = 3; // net.ipv4.tcp_fastopen: client and server

/** With data in the SYN, and accepted so. */
const FASTOPENED = ['TCPFastOpenActive', 'TCPFastOpenPassive', 'TCPFastOpenActiveFail'] as const;

async function fastopen(stage: Stage): Promise<void> {
  await stage.sysctl('net/ipv4/tcp_fastopen', FASTOPEN_BOTH);
  await stage.sidecar({ sockets: { fastopen: 16 } });
}

/** @throws Unavailable where the kernel has no MPTCP, or where it is switched off */
function requireMptcp(): void {
  let enabled = '';
  try {
    enabled = readFileSync('/proc/sys/net/mptcp/enabled', 'utf8').trim();
  } catch {
    throw new Unavailable('the kernel has no MPTCP');
  }
  if (enabled !== '1') throw new Unavailable('MPTCP is switched off (net.mptcp.enabled)');
}

/** A sidecar all of whose listeners are MPTCP. */
async function multipath(stage: Stage, families = stage.families): Promise<void> {
  const sidecar = await stage.proxy();
  for (const family of families) {
    for (const port of [PORT.outbound, PORT.inbound]) {
      const server = { name: `sidecar:${port}`, host: ANY[family], family, port };
      await sidecar.serve({ ...server, protocol: 'mptcp' });
    }
  }
}

/** One captured connection, through a sidecar of its own. */
async function visitOnce(stage: Stage): Promise<void> {
  await using _ = await stage.sidecar();
  await visit(await stage.app(), 4, stage.far(4), PORT.app);
}

export const PROTOCOLS: readonly Item[] = [
  {
    name: 'TCP fast open by MSG_FASTOPEN',
    like: 'iptables',
    async run(stage) {
      await fastopen(stage);
      const app = await stage.app();
      await stage.counted(FASTOPENED, async () => {
        for (const family of stage.families) {
          // The first asks for a cookie; later ones send data with the SYN.
          for (let round = 0; round < 3; round++) {
            const fd = await app.socket(family);
            await app.see('send-to', fd, stage.far(family), PORT.app, 'hello', 'fastopen');
            await app.see('names', fd);
            await app.see('banner', fd);
            await app.must('shutdown', fd, 'write');
            await app.see('drain', fd);
          }
        }
      });
    },
  },
  {
    name: 'TCP fast open by TCP_FASTOPEN_CONNECT',
    like: 'iptables',
    async run(stage) {
      await fastopen(stage);
      const app = await stage.app();
      await stage.counted(FASTOPENED, async () => {
        for (const family of stage.families) {
          for (let round = 0; round < 3; round++) {
            const fd = await app.socket(family);
            await app.see('set', fd, 'fastopen-connect', 1);
            await app.see('connect', fd, stage.far(family), PORT.app);
            await app.see('send', fd, 'hello');
            await app.see('names', fd);
            await app.see('banner', fd);
            await app.must('shutdown', fd, 'write');
            await app.see('drain', fd);
          }
        }
      });
    },
  },
  {
    name: 'TCP fast open when the sidecar is absent',
    like: 'iptables',
    async run(stage) {
      await stage.sysctl('net/ipv4/tcp_fastopen', FASTOPEN_BOTH);
      const app = await stage.app();
      const fd = await app.socket(4);
      await app.see('send-to', fd, stage.far(4), PORT.app, 'hello', 'fastopen');
      await app.see('so-error', fd);
      await stage.sidecar();
      await app.see('send-to', fd, stage.far(4), PORT.app, 'hello', 'fastopen');
      await app.see('banner', fd);
    },
  },
  {
    name: 'MPTCP sockets of the application',
    like: 'iptables',
    async run(stage) {
      requireMptcp();
      await stage.sidecar();
      const app = await stage.app();
      await stage.counted(['MPCapableSYNTX'], async () => {
        for (const family of stage.families) {
          const fd = await app.socket(family, 'stream', 'mptcp');
          await app.see('connect', fd, stage.far(family), PORT.app);
          await look(app, fd);
          await app.quietly('close', fd);
          const other = await app.socket(family, 'stream', 'mptcp');
          await app.must('blocking', other, 'no');
          await app.see('connect', other, stage.far(family), PORT.app);
          await app.see('poll', other, 20_000);
          await app.see('so-error', other);
          await look(app, other);
        }
      });
    },
  },
  {
    name: 'MPTCP sockets of the application without a sidecar',
    like: 'iptables',
    async run(stage) {
      requireMptcp();
      const app = await stage.app();
      const fd = await app.socket(4, 'stream', 'mptcp');
      await app.see('connect', fd, stage.far(4), PORT.app);
      await stage.sidecar();
      await visit(app, 4, stage.far(4), PORT.app);
    },
  },
  {
    // Listeners of programs in Go >= 1.24 are MPTCP unless told otherwise.
    name: 'a sidecar with MPTCP listeners, outbound',
    like: 'iptables',
    async run(stage) {
      requireMptcp();
      await multipath(stage);
      const app = await stage.app();
      await stage.counted(['MPCapableSYNTX', 'MPCapableSYNRX'], async () => {
        for (const family of stage.families) {
          await visit(app, family, stage.far(family), PORT.app);
          const fd = await app.socket(family, 'stream', 'mptcp');
          await app.see('connect', fd, stage.far(family), PORT.app);
          await look(app, fd);
        }
      });
    },
  },
  {
    name: 'a sidecar with MPTCP listeners, inbound',
    like: 'iptables',
    async run(stage) {
      requireMptcp();
      await multipath(stage);
      await visit(await stage.app(), 4, stage.far(4), PORT.app);
      for (const family of stage.families) {
        for (const protocol of ['tcp', 'mptcp'] as const) {
          const outsider = await stage.outsider(`${protocol} from outside, IPv${family}`);
          const fd = await outsider.socket(family, 'stream', protocol);
          const { result } = await outsider.see('connect', fd, stage.pod(family), PORT.app);
          if (result === 'ok') await outsider.see('banner', fd);
        }
      }
    },
  },
  {
    name: 'a sidecar with MPTCP listeners that was there before the agent',
    like: 'iptables',
    async run(stage) {
      requireMptcp();
      // Without a listener to capture both backends take the pod; what this sidecar gets shows below.
      await visitOnce(stage);
      await stage.withdraw();
      await multipath(stage);
      const refusal = await stage.enroll().then(
        () => null,
        (error: Error) => error.message,
      );
      stage.observation.note('enrolled', refusal ?? 'yes');
      if (refusal === null) await visit(await stage.app(), 4, stage.far(4), PORT.app);
    },
  },
  {
    name: 'syncookies, outbound and inbound',
    like: 'iptables',
    async run(stage) {
      // 2: cookies for every SYN, not only when the queue is full.
      await stage.sysctl('net/ipv4/tcp_syncookies', 2);
      await stage.sidecar();
      await stage.server();
      const app = await stage.app();
      const outsider = await stage.outsider();
      await stage.counted(['SyncookiesSent', 'SyncookiesRecv', 'SyncookiesFailed'], async () => {
        for (const family of stage.families) {
          for (let round = 0; round < 3; round++) {
            await visit(app, family, stage.far(family), PORT.app);
            await visit(app, family, stage.far(family), PORT.many + round);
            await visit(outsider, family, stage.pod(family), PORT.app);
            await visit(outsider, family, stage.pod(family), PORT.excludedInbound);
          }
        }
      });
    },
  },
  captured('shutdown of either half', async ({ app, family, stage }) => {
    const writing = await app.socket(family);
    await app.see('connect', writing, stage.far(family), PORT.app);
    await app.see('banner', writing);
    await app.see('send', writing, 'before');
    await app.see('shutdown', writing, 'write');
    await app.see('send', writing, 'after');
    await app.see('drain', writing);
    await app.see('names', writing);
    const reading = await app.socket(family);
    await app.see('connect', reading, stage.far(family), PORT.app);
    await app.see('banner', reading);
    await app.see('shutdown', reading, 'read');
    await app.see('receive', reading);
    await app.see('shutdown', reading, 'write');
    const both = await app.socket(family);
    await app.see('connect', both, stage.far(family), PORT.app);
    await app.see('banner', both);
    await app.see('shutdown', both, 'both');
    await app.see('receive', both);
    await app.see('send', both, 'after');
  }),
  {
    name: 'abstract unix sockets',
    like: 'plain',
    async run(stage) {
      const app = await stage.app();
      const other = await stage.app('other');
      for (const type of ['stream', 'datagram'] as const) {
        const listener = await app.socket('unix', type);
        await app.see('bind', listener, `@${type}`, 0);
        if (type === 'stream') await app.see('listen', listener, 4);
        const fd = await other.socket('unix', type);
        await other.see('connect', fd, `@${type}`, 0);
        await other.see('names', fd);
        await other.see('send', fd, 'hello');
        const reader = type === 'stream' ? await app.must('accept', listener) : listener;
        await app.see('receive', reader);
        await app.see('names', reader);
      }
    },
  },
  {
    name: 'UDP',
    like: 'plain',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app();
      const outsider = await stage.outsider();
      for (const family of stage.families) {
        const server = await outsider.socket(family, 'datagram');
        await outsider.must('set', server, 'reuse-address', 1);
        await outsider.must('bind', server, stage.far(family), portOf(stage));
        const connected = await app.socket(family, 'datagram');
        await app.see('connect', connected, stage.far(family), portOf(stage));
        await app.see('names', connected);
        await app.see('send', connected, 'connected');
        await outsider.see('receive', server);
        const free = await app.socket(family, 'datagram');
        await app.see('send-to', free, stage.far(family), portOf(stage), 'unconnected');
        await outsider.see('receive', server);
        await app.see('names', free);
        await app.see('disconnect', connected);
        await app.see('names', connected);
      }
    },
  },
];

/** The pods play at the same time and share the host outside; a port as of the kernel's choice is not compared. */
function portOf({ contender }: Stage): number {
  return { plain: 40_001, iptables: 40_002, ebpf: 40_003 }[contender];
}
