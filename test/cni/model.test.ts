/**
 * Random sequences of calls, duplicates, crashes of agent and plugin, and namespaces that are missing or vanish: after
 * each step the kernel holds the pods that the model holds and no other, and every answer is the one that it predicts.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import { type Backend, startBackend } from '../../src/agent/backend.ts';
import { CgroupTree } from '../../src/lab/cgroup.ts';
import { until } from '../../src/lab/deadline.ts';
import { resolveNetns } from '../../src/pod/netns.ts';
import type { PodObject } from '../../src/pod/workload.ts';
import { testBpffs } from '../fixtures/bpffs.ts';
import { fixturePod } from '../fixtures/pod.ts';
import { Model, type PodKind, type Sandbox } from './model.ts';
import { podArgs } from './plugin.ts';
import { FakeKernel, type Kernel, World } from './world.ts';

/** `npm run test:cni` makes it 2,000. */
const SEQUENCES = Number(process.env.SHUNT_CNI_SEQUENCES ?? 400);
/** Of these, so many on the real kernel. */
const ON_KERNEL = Math.ceil(SEQUENCES / 50);
const KINDS: Record<string, PodKind> = { p0: 'meshed', p1: 'meshed', p2: 'unmeshed', p3: 'unknown' };
const isMeshed = (pod: string) => KINDS[pod] === 'meshed';

/** Namespaces by number; a number beyond them is a path where there is none. */
class Namespaces implements Disposable {
  readonly #prefix = `shunt-model${process.pid}`;
  readonly #cookies = new Map<number, bigint>();

  path(number: number): string {
    return `/run/netns/${this.#prefix}-${number}`;
  }

  cookie(number: number): bigint | null {
    return this.#cookies.get(number) ?? null;
  }

  isThere = (cookie: bigint): boolean => [...this.#cookies.values()].includes(cookie);

  make(number: number): void {
    if (this.#cookies.has(number)) return;
    execFileSync('ip', ['netns', 'add', `${this.#prefix}-${number}`]);
    this.#cookies.set(number, resolveNetns(this.path(number)).cookie);
  }

  remove(number: number): void {
    if (!this.#cookies.delete(number)) return;
    execFileSync('ip', ['netns', 'delete', `${this.#prefix}-${number}`]);
  }

  [Symbol.dispose](): void {
    for (const number of [...this.#cookies.keys()]) this.remove(number);
  }
}

const namespaces = new Namespaces();
after(() => namespaces[Symbol.dispose]());

const PODS: PodObject[] = Object.entries(KINDS).flatMap(([name, kind]) => {
  if (kind === 'unknown') return [];
  const pod = fixturePod('istio', 'cni-native');
  const { 'shunt.dev/netns': _, 'shunt.dev/cgroup': __, ...annotations } = pod.metadata.annotations;
  const bare = { containers: [], initContainers: [], hostNetwork: false };
  return [
    {
      ...pod,
      metadata: {
        ...{ name, namespace: 'shop', uid: `uid-${name}` },
        ...{ labels: {}, annotations: kind === 'meshed' ? annotations : {} },
      },
      spec: kind === 'meshed' ? pod.spec : bare,
      status: { podIPs: [] },
    },
  ];
});

type Op =
  | { op: 'add' | 'check' | 'broken add'; pod: string; sandbox: number; netns: number; bytes: number }
  | {
      op: 'del' | 'late del' | 'broken del' | 'crash in add';
      pod: string;
      sandbox: number;
      bytes: number;
      netns: number;
    }
  | { op: 'gc'; valid: string[] }
  | { op: 'crash' | 'reconcile' }
  | { op: 'vanish'; netns: number };

const pod = fc.constantFrom('p0', 'p0', 'p1', 'p1', 'p2', 'p3');
const where = {
  pod,
  sandbox: fc.nat(2),
  // Two of the pod's own, one of another pod's, one that is missing.
  netns: fc.constantFrom(0, 0, 0, 1, 1, 2, 9),
  bytes: fc.constantFrom(0, 10, 100, 100_000),
};
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 30, arbitrary: fc.record({ op: fc.constant('add' as const), ...where }) },
  { weight: 16, arbitrary: fc.record({ op: fc.constant('del' as const), ...where }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant('late del' as const), ...where }) },
  { weight: 12, arbitrary: fc.record({ op: fc.constant('check' as const), ...where }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('broken add' as const), ...where }) },
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constantFrom('broken del' as const, 'crash in add' as const), ...where }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('gc' as const),
      valid: fc.array(fc.constantFrom('p0-0', 'p0-1', 'p1-0', 'p1-1', 'p2-0', 'stranger')),
    }),
  },
  { weight: 8, arbitrary: fc.record({ op: fc.constantFrom('crash' as const, 'reconcile' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('vanish' as const), netns: fc.nat(3) }) },
);

/** A plugin that was killed before it said anything, for a sandbox whose pod has a newer one since. */
const MOVED_AND_BROKEN_OFF: Op[] = [
  { op: 'add', pod: 'p1', sandbox: 1, netns: 2, bytes: 0 },
  { op: 'add', pod: 'p1', sandbox: 0, netns: 0, bytes: 0 },
  { op: 'broken add', pod: 'p1', sandbox: 1, netns: 0, bytes: 0 },
  { op: 'gc', valid: ['p1-1'] },
];

/** Two namespaces for each pod; `netns` 2 is the first of the next pod's. */
function numberOf(pod: string, netns: number): number {
  const own = Number(pod.slice(1)) * 2;
  return netns === 9 ? 99 : netns === 2 ? (own + 2) % 6 : own + netns;
}

function called(
  command: string,
  { pod, sandbox, netns }: { pod: string; sandbox: number; netns: number },
  withNetns = true,
) {
  return {
    variables: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `${pod}-${sandbox}`,
      CNI_IFNAME: 'eth0',
      CNI_NETNS: withNetns ? namespaces.path(numberOf(pod, netns)) : '',
      CNI_ARGS: podArgs('shop', pod, `uid-${pod}`),
    },
    stdin: JSON.stringify({ cniVersion: '1.0.0', name: 'net', prevResult: {} }),
  };
}

/** Asserts that the world is as one of the models has it, and gives that one. */
function seen(world: World, ...models: Model[]): Model {
  const state = (attachments: readonly Omit<Sandbox, 'pod'>[], held: bigint[]) =>
    JSON.stringify({
      attachments: attachments.map(({ container, netns }) => `${container} in ${netns}`),
      held: held.map(String).sort(),
    });
  const is = state(world.recorded(), world.kernel.held());
  const wanted = models.map((model) => state(model.attachments, [...model.held.values()]));
  const at = wanted.indexOf(is);
  assert.ok(at >= 0, `is ${is}, was to be ${wanted.join(' or ')}`);
  return models[at] ?? new Model();
}

async function step(world: World, model: Model, each: Op): Promise<Model> {
  switch (each.op) {
    case 'crash':
      await world.crash();
      await world.start();
      model.reconcile(namespaces.isThere, isMeshed);
      return seen(world, model);
    case 'reconcile':
      await world.reconcile();
      model.reconcile(namespaces.isThere, isMeshed);
      return seen(world, model);
    case 'vanish': {
      const cookie = namespaces.cookie(each.netns);
      namespaces.remove(each.netns);
      if (cookie !== null) await world.kernel.ended(cookie);
      await world.reconcile();
      model.reconcile(namespaces.isThere, isMeshed);
      namespaces.make(each.netns);
      return seen(world, model);
    }
    case 'gc': {
      const valid = each.valid.map((containerID) => ({ containerID, ifname: 'eth0' }));
      const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', 'cni.dev/valid-attachments': valid });
      assert.equal(await world.call({ variables: { CNI_COMMAND: 'GC' }, stdin }), 0);
      model.gc(each.valid);
      return seen(world, model);
    }
  }
  const { pod, sandbox, netns } = each;
  const kind = KINDS[pod] ?? 'unknown';
  const at = { pod, container: `${pod}-${sandbox}`, netns: namespaces.cookie(numberOf(pod, netns)) };
  switch (each.op) {
    case 'add': {
      const code = await world.call(called('ADD', each));
      assert.equal(code, model.add(at, kind), 'ADD');
      return seen(world, model);
    }
    case 'check':
      assert.equal(await world.call(called('CHECK', each)), model.check(at, kind), 'CHECK');
      return seen(world, model);
    case 'del':
    case 'late del':
      assert.equal(await world.call(called('DEL', each, each.op === 'del')), 0, 'DEL');
      model.del(at.container);
      return seen(world, model);
    case 'broken add':
    case 'broken del': {
      const command = each.op === 'broken add' ? 'ADD' : 'DEL';
      await world.breakOff(called(command, each), each.bytes);
      const done = model.copy();
      if (command === 'ADD') done.add(at, kind);
      else done.del(at.container);
      return seen(world, done, model);
    }
    case 'crash in add': {
      const answer = world.call(called('ADD', each)).catch(() => null);
      await world.crash();
      await answer;
      await world.start();
      const done = model.copy();
      done.add(at, kind);
      for (const either of [done, model]) either.reconcile(namespaces.isThere, isMeshed);
      return seen(world, done, model);
    }
  }
}

async function play(kernel: Kernel, ops: readonly Op[]): Promise<void> {
  for (let number = 0; number < 6; number++) namespaces.make(number);
  await using world = new World(kernel, PODS);
  await world.start();
  let model = new Model();
  for (const each of ops) model = await step(world, model, each);
  for (const { container } of world.recorded()) model.del(container);
  const gone = { cniVersion: '1.1.0', name: 'net', 'cni.dev/valid-attachments': [] };
  assert.equal(await world.call({ variables: { CNI_COMMAND: 'GC' }, stdin: JSON.stringify(gone) }), 0);
  // Whatever happened before: the runtime's last word leaves nothing behind.
  seen(world, new Model());
}

test(`${SEQUENCES - ON_KERNEL} sequences on a data plane in memory`, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 1, maxLength: 16 }), (ops) =>
      play(new FakeKernel(namespaces.isThere), ops),
    ),
    { numRuns: SEQUENCES - ON_KERNEL, examples: [[MOVED_AND_BROKEN_OFF]] },
  );
});

test(`${ON_KERNEL} sequences on the kernel's`, async (t) => {
  using bpffs = testBpffs();
  const tree = CgroupTree.make(`shunt-model${process.pid}`);
  t.after(() => tree[Symbol.asyncDispose]());
  const socket = join(bpffs.path, '..', `shunt-model${process.pid}`, 'agent.sock');
  t.after(() => rmSync(join(socket, '..'), { recursive: true, force: true }));
  const log = pino({ level: 'silent' });
  let backend: Backend | null = null;
  const kernel: Kernel = {
    isThere: namespaces.isThere,
    held: () => backend?.datapath.pods().map(({ cookie }) => cookie) ?? [],
    ended: async (cookie) => {
      const ended = () =>
        kernel.held().includes(cookie) && !backend?.datapath.isGone(cookie) ? undefined : true;
      await until(ended, { what: 'a network namespace to end' });
    },
    async start() {
      backend?.[Symbol.dispose]();
      backend = await startBackend(
        {
          ...{ backend: 'ebpf', cgroup: () => tree.path, bpffs: bpffs.path, socket },
          ...{ compile: false, acceleration: false, maxTier: 3 },
        },
        log,
      );
      const { datapath } = backend;
      const started = backend;
      return new Proxy(datapath, {
        get(target, name) {
          if (name === Symbol.dispose) {
            return () => {
              backend = null;
              started[Symbol.dispose]();
            };
          }
          const value = Reflect.get(target, name, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 4, maxLength: 12 }), (ops) => play(kernel, ops)),
    { numRuns: ON_KERNEL },
  );
});
