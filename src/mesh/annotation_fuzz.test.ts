/**
 * Whatever the values of a pod hold, every mesh answers with a valid policy, with notes, or with a reason, and no text of
 * the pod gets further than a note. Values that once mattered are kept in test/fixtures/annotation_corpus.json and tried
 * on every setting in each run; SHUNT_FUZZ_SECONDS says how long to go on with random ones after that: in CI a minute.
 * Random values that fail are added to the corpus, so that the next run tries them first.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import * as v from 'valibot';
import { fixturePod } from '../../test/fixtures/pod.ts';
import type { PodObject } from '../pod/workload.ts';
import { canonicalPolicy } from '../policy/json.ts';
import { isInterfaceName, policyProblems } from '../policy/validate.ts';
import { recognise } from './recognise.ts';

const FIXTURES = new URL('../../test/fixtures/', import.meta.url);
const CORPUS_FILE = new URL('annotation_corpus.json', FIXTURES);
const readCorpus = () => v.parse(v.array(v.string()), JSON.parse(readFileSync(CORPUS_FILE, 'utf8')));
const CORPUS = readCorpus();
const SECONDS = Number(process.env.SHUNT_FUZZ_SECONDS ?? (process.env.CI === 'true' ? '60' : '0'));

/** Values that failed, shrunk to the shortest; sharing a run with others, so the file is read again. */
function keep(values: readonly string[]): void {
  const all = [...new Set([...readCorpus(), ...values])];
  writeFileSync(CORPUS_FILE, `${JSON.stringify(all, null, 2)}\n`);
}

/** One value of a pod that a mesh reads: an annotation, an argument, an environment variable. */
interface Slot {
  name: string;
  set(pod: PodObject, value: string): void;
}

/** Every place of the pod that holds text; each may be what a parser reads. */
function slotsOf(pod: PodObject, extra: readonly string[]): Slot[] {
  const annotations = [...new Set([...Object.keys(pod.metadata.annotations), ...extra])].map((name) => ({
    name,
    set: (changed: PodObject, value: string) => {
      changed.metadata.annotations[name] = value;
    },
  }));
  const lists = ['initContainers', 'containers'] as const;
  const inContainers = lists.flatMap((list) =>
    pod.spec[list].flatMap((container, at) => [
      ...container.args.map((_, index) => ({
        name: `${container.name} argument ${index}`,
        set: (changed: PodObject, value: string) => {
          changed.spec[list][at]?.args.splice(index, 1, value);
        },
      })),
      ...Object.keys(container.env).map((name) => ({
        name: `${container.name} env ${name}`,
        set: (changed: PodObject, value: string) => {
          const target = changed.spec[list][at];
          if (target !== undefined) target.env[name] = value;
        },
      })),
    ]),
  );
  return [...annotations, ...inContainers];
}

/** Annotations of each mesh that its fixtures do not all have. */
const ANNOTATIONS: Record<string, readonly string[]> = {
  istio: [
    ...['includeInboundPorts', 'excludeInboundPorts', 'includeOutboundPorts', 'excludeOutboundPorts'],
    ...['includeOutboundIPRanges', 'excludeOutboundIPRanges', 'excludeInterfaces', 'kubevirtInterfaces'],
  ].map((word) => `traffic.sidecar.istio.io/${word}`),
  linkerd: ['proxy-uid', 'proxy-gid', 'skip-inbound-ports', 'skip-outbound-ports', 'skip-subnets'].map(
    (word) => `config.linkerd.io/${word}`,
  ),
  kuma: [
    ...['exclude-inbound-ports', 'exclude-outbound-ports', 'exclude-outbound-ports-for-uids'],
    ...['exclude-inbound-ips', 'exclude-outbound-ips', 'drop-invalid-packets', 'transparent-proxy-config'],
  ].map((word) => `traffic.kuma.io/${word}`),
  consul: ['redirect-traffic-config', 'dual-stack'].map((word) => `consul.hashicorp.com/${word}`),
  osm: [
    ...['outbound-port-exclusion-list', 'inbound-port-exclusion-list'],
    ...['outbound-ip-range-exclusion-list', 'outbound-ip-range-inclusion-list'],
  ].map((word) => `openservicemesh.io/${word}`),
  appmesh: [
    'ports',
    'egressIgnoredPorts',
    'egressIgnoredIPs',
    'proxyEgressPort',
    'ignoredUID',
    'ignoredGID',
  ].map((word) => `appmesh.k8s.aws/${word}`),
};

/** What a policy may hold as text: nothing that means anything to a shell or to iptables-restore. */
const HARMLESS = /^[0-9A-Za-z_.:/@+*-]*$/;

function check(pod: PodObject, said: string): void {
  const answer = recognise(pod);
  if (answer.kind === 'leave') {
    assert.ok(answer.reason.length > 0 && answer.reason.length < 400, said);
    return;
  }
  assert.ok(answer.notes.length <= 60, said);
  for (const { annotation, value, message } of answer.notes) {
    assert.ok(annotation.length < 300 && value.length <= 100 && message.length < 400, said);
  }
  if (answer.kind === 'reject') {
    assert.ok(answer.notes.length > 0, said);
    return;
  }
  assert.deepEqual(policyProblems(answer.policy), [], said);
  JSON.parse(canonicalPolicy(answer.policy), (_, value: unknown) => {
    if (typeof value === 'string') assert.match(value, HARMLESS, said);
    return value;
  });
  const { exclude, reroute, virtual } = answer.policy.interfaces;
  for (const name of [...exclude, ...reroute, ...virtual.map((network) => network.name)]) {
    assert.ok(isInterfaceName(name), said);
  }
}

const element = fc.oneof(
  fc.constantFrom(...CORPUS),
  fc.nat(70_000).map(String),
  fc.tuple(fc.nat(70_000), fc.nat(70_000), fc.constantFrom('-', ':', ';')).map(([a, b, c]) => `${a}${c}${b}`),
  fc.tuple(fc.ipV4(), fc.nat(33)).map(([address, bits]) => `${address}/${bits}`),
  fc.tuple(fc.ipV6(), fc.nat(129)).map(([address, bits]) => `${address}/${bits}`),
  fc.string({ maxLength: 8 }),
  fc.string({ unit: 'binary', maxLength: 4 }),
);
const value = fc.oneof(
  { weight: 4, arbitrary: fc.array(element, { maxLength: 6 }).map((elements) => elements.join(',')) },
  { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
  { weight: 1, arbitrary: element },
);

for (const [mesh, extra] of Object.entries(ANNOTATIONS)) {
  describe(`values of ${mesh}`, () => {
    const names = readdirSync(new URL(mesh, FIXTURES)).flatMap((name) =>
      name.endsWith('.yaml') ? [name.slice(0, -'.yaml'.length)] : [],
    );
    // Four of those that are redirected as they stand, of both modes: what is read of a pod decides.
    const usable = names
      .map((name) => fixturePod(mesh, name))
      .filter((pod) => recognise(pod).kind === 'redirect');
    const pods = usable.filter((_, index) => index % Math.ceil(usable.length / 4) === 0);
    const slots = pods.map((pod) => slotsOf(pod, extra));

    it('each of the corpus is answered in each place', () => {
      for (const [index, pod] of pods.entries()) {
        for (const slot of slots[index] ?? []) {
          for (const text of CORPUS) {
            const changed = structuredClone(pod);
            slot.set(changed, text);
            check(changed, `${slot.name} = ${JSON.stringify(text)}`);
          }
        }
      }
    });

    it('random values are answered', () => {
      const changes = fc.array(fc.tuple(fc.nat(), value), { minLength: 1, maxLength: 4 });
      const { failed, counterexample, errorInstance, seed } = fc.check(
        fc.property(fc.nat(), changes, (which, list) => {
          const at = which % pods.length;
          const pod = structuredClone(pods[at]);
          const places = slots[at] ?? [];
          assert.ok(pod);
          for (const [place, text] of list) places[place % places.length]?.set(pod, text);
          check(pod, JSON.stringify(list));
        }),
        SECONDS > 0
          ? {
              numRuns: 100_000_000,
              interruptAfterTimeLimit: (SECONDS * 1000) / Object.keys(ANNOTATIONS).length,
            }
          : { numRuns: 1000 },
      );
      if (!failed) return;
      keep((counterexample?.[1] ?? []).map(([, text]) => text));
      throw new Error(`with seed ${seed}; its values are in the corpus now`, {
        cause: errorInstance,
      });
    });

    it('a list of a hundred thousand slips makes a few notes', () => {
      const [pod] = pods;
      assert.ok(pod);
      for (const slot of slots[0] ?? []) {
        const changed = structuredClone(pod);
        slot.set(changed, 'x,'.repeat(100_000));
        check(changed, slot.name);
      }
    });

    it('a megabyte in one place is answered with short notes', () => {
      const [pod] = pods;
      assert.ok(pod);
      for (const [text, places] of [
        ['80,'.repeat(350_000), slots[0]],
        ['x'.repeat(1_048_576), slots[0]],
        [`{"a":${'['.repeat(1_000_000)}`, slots[0]],
      ] as const) {
        for (const slot of places ?? []) {
          const changed = structuredClone(pod);
          slot.set(changed, text);
          check(changed, `${slot.name} = a megabyte of ${text.slice(0, 5)}`);
        }
      }
    });
  });
}
