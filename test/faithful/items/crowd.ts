/** Many connections at once. */
import type { Puppet } from '../puppet.ts';
import { ANYWHERE, MANY_PORTS, PORT, type Stage } from '../stage.ts';
import type { Item } from './item.ts';

/** Connections to random destinations; fewer where the kernel is emulated. */
const COUNT = Number(process.env.SHUNT_FAITHFUL_CROWD ?? 2_000);
const THREADS = 8;
const PORTS = 64;
const TO_MANY = 8 * PORTS;

export const CROWD: readonly Item[] = [
  {
    name: `${COUNT} connections to random destinations from ${THREADS} threads`,
    like: 'iptables',
    async run(stage) {
      await stage.sidecar({ brief: true });
      const app = await stage.app();
      const seed = 4_711;
      const prefixes = stage.families.map((family) => ANYWHERE[family]);
      await lookOnce(stage, app);
      await app.see('crowd', COUNT, THREADS, seed, PORT.many, MANY_PORTS, ...prefixes);
    },
  },
  {
    name: `${TO_MANY} connections, one after the other, to as many destinations from ${PORTS} local ports`,
    like: 'iptables',
    async run(stage) {
      // Each connection's port waits for a minute where the application closes first: it does not run out of them.
      await stage.sysctl('net/ipv4/ip_local_port_range', `40000 ${40_000 + PORTS - 1}`);
      await stage.sidecar();
      const app = await stage.app();
      await lookOnce(stage, app);
      await app.see('crowd', TO_MANY, 1, 815, PORT.many, MANY_PORTS, ANYWHERE[4]);
    },
  },
];

/**
 * One connection of which it is seen who took it. Before the crowd: REDIRECT may give it another source port while
 * connection tracking remembers theirs (test/faithful/bed.ts).
 */
async function lookOnce(stage: Stage, app: Puppet): Promise<void> {
  const fd = await app.socket(4);
  await app.see('connect', fd, stage.far(4), PORT.app);
  await app.see('banner', fd);
}
