/** Many connections at once. */
import { ANYWHERE, MANY_PORTS, PORT } from '../stage.ts';
import type { Item } from './item.ts';

/** Connections to random destinations; fewer where the kernel is emulated. */
const COUNT = Number(process.env.SHUNT_FAITHFUL_CROWD ?? 2_000);
const THREADS = 8;

export const CROWD: readonly Item[] = [
  {
    name: `${COUNT} connections to random destinations from ${THREADS} threads`,
    like: 'iptables',
    async run(stage) {
      await stage.sidecar({ brief: true });
      const app = await stage.app();
      const seed = 4_711;
      const prefixes = stage.families.map((family) => ANYWHERE[family]);
      await app.see('crowd', COUNT, THREADS, seed, PORT.many, MANY_PORTS, ...prefixes);
      const fd = await app.socket(4);
      await app.see('connect', fd, stage.far(4), PORT.app);
      await app.see('banner', fd);
    },
  },
];
