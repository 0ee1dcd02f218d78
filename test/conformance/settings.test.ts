/**
 * Settings that no mesh has by default, in real pods: what each makes of connections, under both backends. What is
 * expected is written by hand. (Random policies are compared without a kernel: test/iptables/orders.test.ts.)
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import type { RedirectPolicy } from '../../src/policy/policy.ts';
import { Bed } from './bed.ts';
import { EXCLUDED_HOST, type Identity, PORTS } from './cases.ts';
import { type Family, MESHES, policyOf } from './meshes.ts';

const FAMILIES: readonly Family[] = existsSync('/proc/sys/net/ipv6') ? [4, 6] : [4];
const PROXY = 1337;
/** `EXCLUDED_HOST` is in them, the outside host's other addresses are not. */
const FAR_BLOCKS = ['192.0.2.128/25', '2001:db8:2::8000/113'];
const ALL_FAR = ['192.0.2.0/24', '2001:db8:2::/64'];
const range = (first: number, last = first) => ({ first, last });

type Where = 'outside' | 'far' | 'pod';

interface Connection {
  who: string;
  to: Where;
  port: number;
  /** From the outside host to the pod: the address that it has. */
  from?: 'outside' | 'far';
  lands: string;
}

interface Setting {
  what: string;
  change: (policy: RedirectPolicy) => void;
  connections: Connection[];
}

/** `uid:gid`, in the application's container or, after `sidecar`, in that of the sidecar. */
function identity(who: string): Identity {
  const [ids = '', container] = who.split(' ').reverse();
  const [uid, gid] = ids.split(':').map(Number);
  return { uid: uid ?? 0, gid: gid ?? 0, container: container === 'sidecar' ? 'sidecar' : 'app' };
}

const out = (who: string, to: Where, port: number, lands: string): Connection => ({ who, to, port, lands });
const into = (from: 'outside' | 'far', port: number, lands: string): Connection => {
  return { who: '0:0', from, to: 'pod', port, lands };
};
const { app, outExcluded, inExcluded, closed } = PORTS;
const CAPTURED = 'sidecar:15001';
const INBOUND = 'sidecar:15006';

const SETTINGS: readonly Setting[] = [
  {
    what: 'the uid of the sidecar counts before its gid',
    change: () => {},
    connections: [
      out('sidecar 1337:1337', 'pod', app, INBOUND),
      out('sidecar 1337:1000', 'pod', app, INBOUND),
      out('sidecar 1337:1000', 'outside', app, `outside:${app}`),
      // The rule of the uid has let it pass before that of the gid is read.
      out('sidecar 1000:1337', 'pod', app, `app:${app}`),
      out('sidecar 1000:1337', 'outside', app, `outside:${app}`),
      out('sidecar 1000:1000', 'outside', app, CAPTURED),
    ],
  },
  {
    what: 'only the owner groups that are listed are captured',
    change: ({ exempt }) => Object.assign(exempt, { includeGids: [1500, 1502] }),
    connections: [
      out('1000:1500', 'outside', app, CAPTURED),
      out('1000:1501', 'outside', app, `outside:${app}`),
      out('1000:1502', 'outside', app, CAPTURED),
      out('1000:1503', 'outside', app, `outside:${app}`),
    ],
  },
  {
    what: 'owner groups that are excluded are not captured',
    change: ({ exempt }) => Object.assign(exempt, { excludeGids: [1500] }),
    connections: [
      out('1000:1500', 'outside', app, `outside:${app}`),
      out('1000:1501', 'outside', app, CAPTURED),
    ],
  },
  {
    what: 'users that are excluded are not captured',
    change: ({ exempt }) => Object.assign(exempt, { uids: [range(5996, 5998)] }),
    connections: [
      out('5995:1000', 'outside', app, CAPTURED),
      out('5996:1000', 'outside', app, `outside:${app}`),
      out('5998:1000', 'outside', app, `outside:${app}`),
      out('5999:1000', 'outside', app, CAPTURED),
    ],
  },
  {
    what: 'ports that are excluded for some users are captured for others',
    change: ({ exempt, outbound }) => {
      exempt.uidPorts.push({ protocols: 'tcp', ports: [range(8000, 8100)], uids: range(3000, 3001) });
      outbound.excludePorts = [];
    },
    connections: [
      out('3000:1000', 'outside', app, `outside:${app}`),
      out('3001:1000', 'outside', app, `outside:${app}`),
      out('3002:1000', 'outside', app, CAPTURED),
      out('3000:1000', 'outside', outExcluded, CAPTURED),
    ],
  },
  {
    what: 'a range of ports is excluded from its first to its last',
    change: ({ outbound }) =>
      Object.assign(outbound, { excludePorts: [range(closed, 3305), range(3307, app)] }),
    connections: [
      out('1000:1000', 'outside', closed - 1, CAPTURED),
      out('1000:1000', 'outside', closed, 'ECONNREFUSED'),
      out('1000:1000', 'outside', 3305, 'ECONNREFUSED'),
      out('1000:1000', 'outside', outExcluded, CAPTURED),
      out('1000:1000', 'outside', app, `outside:${app}`),
      out('1000:1000', 'outside', app + 1, CAPTURED),
    ],
  },
  {
    what: 'only blocks and ports that are included are captured',
    change: ({ outbound }) =>
      Object.assign(outbound, {
        includeCidrs: FAR_BLOCKS,
        includePorts: [range(3300, 3310)],
        excludeCidrs: [],
        excludePorts: [],
      }),
    connections: [
      out('1000:1000', 'outside', app, `outside:${app}`),
      out('1000:1000', 'far', app, CAPTURED),
      out('1000:1000', 'outside', outExcluded, CAPTURED),
      out('1000:1000', 'outside', 3311, 'ECONNREFUSED'),
    ],
  },
  {
    what: 'a block that is excluded is taken out of a wider one that is included',
    change: ({ outbound }) =>
      Object.assign(outbound, { includeCidrs: ALL_FAR, excludeCidrs: FAR_BLOCKS, excludePorts: [] }),
    connections: [
      out('1000:1000', 'far', app, `outside:${app}`),
      out('1000:1000', 'far', outExcluded, `outside:${outExcluded}`),
    ],
  },
  {
    what: 'inbound only the ports that are listed are captured',
    change: ({ inbound }) =>
      Object.assign(inbound, { includePorts: [range(app), range(9000, 9100)], excludePorts: [] }),
    connections: [
      into('outside', app, INBOUND),
      into('outside', inExcluded, INBOUND),
      into('outside', outExcluded, `app:${outExcluded}`),
      into('outside', closed, 'ECONNREFUSED'),
    ],
  },
  {
    what: 'inbound a range of ports is excluded from its first to its last',
    change: ({ inbound }) => Object.assign(inbound, { excludePorts: [range(3306, 8079), range(9000, 9100)] }),
    connections: [
      into('outside', outExcluded, `app:${outExcluded}`),
      into('outside', app, INBOUND),
      into('outside', inExcluded, `app:${inExcluded}`),
      into('outside', closed, INBOUND),
    ],
  },
  {
    what: 'inbound what comes from an excluded block is not captured',
    change: ({ inbound }) => Object.assign(inbound, { excludeSources: FAR_BLOCKS }),
    connections: [into('far', app, `app:${app}`), into('outside', app, INBOUND)],
  },
];

describe('a setting in a real pod', () => {
  let bed: Bed;
  const stack = new AsyncDisposableStack();
  const istio = MESHES.find(({ name }) => name === 'istio');
  assert.ok(istio);
  assert.equal(istio.proxyId, PROXY);

  before(async () => {
    bed = stack.use(await Bed.open(istio, ['iptables', 'ebpf']));
    assert.equal(bed.absent.size, 0);
  });
  after(async () => await stack.disposeAsync());

  function addressOf(where: Where, backend: 'iptables' | 'ebpf', family: Family): string {
    if (where === 'far') return EXCLUDED_HOST[family];
    return bed.address(where === 'pod' ? backend : 'outside', family);
  }

  for (const { what, change, connections } of SETTINGS)
    it(what, async () => {
      const policy = structuredClone(policyOf(istio));
      change(policy);
      await bed.enforce(policy);
      for (const backend of ['iptables', 'ebpf'] as const)
        for (const family of FAMILIES) {
          const landed = await Promise.all(
            connections.map(async ({ who, from, to, port }) => {
              const host = addressOf(to, backend, family);
              const source = from === undefined ? null : addressOf(from, backend, family);
              const place = from === undefined ? backend : 'outside';
              const { landing } = await bed.connect(place, { ...identity(who), source, host, port });
              return { who, from, to, port, lands: landing };
            }),
          );
          const wanted = connections.map(({ who, from, to, port, lands }) => ({
            who,
            from,
            to,
            port,
            lands,
          }));
          assert.deepEqual(landed, wanted, `${backend}, IPv${family}`);
        }
    });
});
