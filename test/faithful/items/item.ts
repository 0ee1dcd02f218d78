import type { Puppet } from '../puppet.ts';
import type { Stage } from '../stage.ts';

/** One way to use sockets, tried in each pod. */
export interface Item {
  /** Unique; differences are listed by it. */
  name: string;
  /**
   * What eBPF has to equal: the pod under iptables, or the plain one where nothing is to be redirected. In the first
   * case some connection has to land on the sidecar, or the item shows nothing.
   */
  like: 'iptables' | 'plain';
  run(stage: Stage): Promise<void>;
}

/** What an application does with each family, while its sidecar takes what it sends out. */
export function captured(
  name: string,
  play: (at: { stage: Stage; app: Puppet; family: 4 | 6 }) => Promise<void>,
): Item {
  return {
    name,
    like: 'iptables',
    async run(stage) {
      await stage.sidecar();
      const app = await stage.app();
      for (const family of stage.families) await play({ stage, app, family });
    },
  };
}

/** What both ends see of a connection, and that bytes pass it whole. */
export async function look(client: Puppet, fd: number): Promise<void> {
  await client.see('names', fd);
  await client.see('banner', fd);
  await client.see('exchange', fd, 20_000);
}

/** A connection from socket() to close(). */
export async function visit(client: Puppet, family: 4 | 6, host: string, port: number): Promise<void> {
  const fd = await client.socket(family);
  const { result } = await client.see('connect', fd, host, port);
  if (result === 'ok') await look(client, fd);
  await client.quietly('close', fd);
}
