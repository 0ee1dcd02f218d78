/** getsockopt(): SO_ORIGINAL_DST in every size and at either level, and options that are none of our business. */
import type { Puppet } from '../puppet.ts';
import { ANY, type Family, PORT, type Stage, Unavailable } from '../stage.ts';
import { type Item, visit } from './item.ts';

/** sockaddr_in, Go's IPv6Mreq, sockaddr_in6, Go's IPv6MTUInfo, sockaddr_storage, a page, and beyond. */
const SIZES = [16, 20, 28, 32, 128, 4_096, 4_097, 65_536];
const SHORT = [0, 1, 8, 15];
const SHORT6 = [16, 27];

async function askAll(sidecar: Puppet, fd: number, sizes: readonly number[]): Promise<void> {
  for (const level of ['ip', 'ipv6'])
    for (const size of sizes) await sidecar.see('original', fd, level, `${size}`);
}

/** One connection out of the pod and one into it, each accepted by the sidecar and asked about. */
async function askBoth(
  stage: Stage,
  family: Family,
  listener: { family: Family; v6only: boolean },
  sizes: readonly number[],
): Promise<void> {
  await using sidecar = await stage.proxy();
  await using app = await stage.app();
  await using outsider = await stage.outsider();
  const ways = [
    { client: app, host: stage.far(family), port: PORT.outbound },
    { client: outsider, host: stage.pod(family), port: PORT.inbound },
  ];
  for (const { client, host, port } of ways) {
    const { family: domain, v6only } = listener;
    const options = domain === 6 ? { v6only: v6only ? 1 : 0 } : {};
    const fd = await sidecar.listen({ family: domain, host: ANY[domain], port, options });
    const socket = await client.socket(family);
    await client.see('connect', socket, host, PORT.app);
    if (!stage.redirects) continue;
    const accepted = await sidecar.see('accept', fd);
    await sidecar.see('names', Number(accepted.fd));
    await askAll(sidecar, Number(accepted.fd), sizes);
    // The client's end is nobody's business but its own.
    await client.see('original', socket, family === 4 ? 'ip' : 'ipv6', '128');
  }
  stage.observation.note('asked', stage.redirects ? 'sidecar: yes' : 'no');
}

export const OPTIONS: readonly Item[] = [
  {
    name: 'SO_ORIGINAL_DST of an IPv4 listener, in every size',
    like: 'iptables',
    run: (stage) => askBoth(stage, 4, { family: 4, v6only: false }, SIZES),
  },
  {
    name: 'SO_ORIGINAL_DST of an IPv6 listener, in every size',
    like: 'iptables',
    async run(stage) {
      if (!stage.families.includes(6)) throw new Unavailable('the kernel has no IPv6');
      await askBoth(stage, 6, { family: 6, v6only: true }, SIZES);
    },
  },
  {
    name: 'SO_ORIGINAL_DST of a dual-stack listener, in every size',
    like: 'iptables',
    async run(stage) {
      if (!stage.families.includes(6)) throw new Unavailable('the kernel has no IPv6');
      await askBoth(stage, 4, { family: 6, v6only: false }, SIZES);
      await askBoth(stage, 6, { family: 6, v6only: false }, SIZES);
    },
  },
  {
    name: 'SO_ORIGINAL_DST with a buffer too short',
    like: 'iptables',
    async run(stage) {
      await askBoth(stage, 4, { family: 4, v6only: false }, SHORT);
      if (stage.families.includes(6))
        await askBoth(stage, 6, { family: 6, v6only: true }, [...SHORT, ...SHORT6]);
    },
  },
  {
    name: 'SO_ORIGINAL_DST of a client that came to the sidecar of itself',
    like: 'iptables',
    async run(stage) {
      const sidecar = await stage.sidecar();
      const app = await stage.app();
      const outsider = await stage.outsider();
      for (const family of stage.families) {
        await visit(app, family, family === 4 ? '127.0.0.1' : '::1', PORT.outbound);
        await visit(outsider, family, stage.pod(family), PORT.inbound);
        await visit(outsider, family, stage.pod(family), PORT.outbound);
      }
      await visit(app, 4, stage.far(4), PORT.app);
      await sidecar.must('socket', 'inet', 'stream', 'tcp');
    },
  },
  {
    name: 'SO_ORIGINAL_DST of sockets that are not connected',
    like: 'plain',
    async run(stage) {
      const sidecar = await stage.proxy();
      const app = await stage.app();
      for (const family of stage.families) {
        const level = family === 4 ? 'ip' : 'ipv6';
        await app.see('original', await app.socket(family), level, '128');
        await app.see('original', await app.socket(family, 'datagram'), level, '128');
        const listener = await sidecar.listen({ family, host: ANY[family], port: PORT.many });
        await sidecar.see('original', listener, level, '128');
      }
    },
  },
  {
    name: 'huge buffers for other options',
    like: 'plain',
    async run(stage) {
      await stage.sidecar();
      await stage.server();
      const app = await stage.app('root', 0);
      for (const family of stage.families) {
        const fd = await app.socket(family);
        await app.see('connect', fd, stage.far(family), PORT.excluded);
        for (const option of [
          'info',
          'congestion',
          'device',
          'error',
          'protocol',
          'mark',
          'v6only',
          'table-entries',
        ]) {
          for (const size of ['1', '4', '4096', '4097', '65536']) await app.see('ask', fd, option, size);
        }
      }
    },
  },
  {
    name: 'huge buffers on redirected sockets',
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app('root', 0);
      for (const family of stage.families) {
        const fd = await app.socket(family);
        await app.see('connect', fd, stage.far(family), PORT.app);
        await app.see('banner', fd);
        for (const option of ['info', 'congestion', 'error', 'protocol', 'table-entries']) {
          for (const size of ['4', '4096', '4097', '65536']) await app.see('ask', fd, option, size);
        }
      }
    },
  },
];
