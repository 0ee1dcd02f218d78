import * as v from 'valibot';
import { ACCELERATIONS } from '../policy/policy.ts';

/**
 * The answers of the agent as they arrive: loose, so that an agent with more fields is still understood, and what
 * it adds is printed by `-o json` as it came.
 */
const count = v.pipe(
  v.string(),
  v.regex(/^\d+$/),
  v.transform((text) => BigInt(text)),
);
const range = v.object({ first: v.number(), last: v.number() });
const ranges = v.array(range);

export const ErrorReportSchema = v.looseObject({ code: v.string(), message: v.string(), fix: v.string() });
export const ErrorAnswer = v.object({ error: ErrorReportSchema });

const texts = v.array(v.string());
const numbers = v.array(v.number());

const RedirectPolicySchema = v.looseObject({
  mesh: v.string(),
  families: v.looseObject({ ip4: v.boolean(), ip6: v.boolean() }),
  identity: v.looseObject({ proxyUids: numbers, proxyGids: numbers }),
  exempt: v.looseObject({
    uids: ranges,
    includeGids: v.union([v.literal('*'), numbers]),
    excludeGids: numbers,
    uidPorts: v.array(
      v.looseObject({ protocols: v.picklist(['tcp', 'udp', 'both']), ports: ranges, uids: range }),
    ),
  }),
  ports: v.looseObject({ outbound: v.number(), inbound: v.number(), tunnel: v.nullable(v.number()) }),
  loopback: v.looseObject({
    localhost4: v.string(),
    application: v.picklist(['bypass-local', 'bypass-localhost', 'capture']),
    sidecar: v.picklist(['inbound', 'bypass']),
    passthroughSource: v.boolean(),
    sidecarLocalhostToPodIp: v.boolean(),
  }),
  outbound: v.looseObject({
    enabled: v.boolean(),
    excludePorts: ranges,
    excludePortProtocols: v.picklist(['tcp', 'udp', 'both']),
    includePorts: ranges,
    excludeCidrs: texts,
    includeCidrs: v.union([v.literal('*'), texts]),
  }),
  inbound: v.looseObject({
    enabled: v.boolean(),
    includePorts: v.union([v.literal('*'), ranges]),
    excludePorts: ranges,
    excludeSources: texts,
  }),
  interfaces: v.looseObject({
    exclude: texts,
    reroute: texts,
    virtual: v.array(v.looseObject({ name: v.string(), cidr: v.string() })),
  }),
  dns: v.looseObject({
    mode: v.picklist(['off', 'all', 'servers', 'localhost']),
    servers: texts,
    target: v.nullable(v.looseObject({ address: v.nullable(v.string()), port: v.number() })),
    tcp: v.picklist(['capture', 'bypass', 'as-other-tcp']),
    splitZones: v.boolean(),
  }),
  misc: v.looseObject({ dropInvalid: v.boolean() }),
});

const HeldPodSchema = v.looseObject({
  cookie: count,
  ip4: v.nullable(v.string()),
  ip6: v.nullable(v.string()),
  inbound: v.boolean(),
  listeners: v.looseObject({ ip4: v.number(), ip6: v.number() }),
  acceleration: v.picklist(ACCELERATIONS),
  counters: v.record(v.string(), count),
});

export const AccelerationSchema = v.looseObject({ enabled: v.boolean(), reason: v.string() });
export const ReconcileSchema = v.looseObject({
  repaired: v.array(v.string()),
  outstanding: v.array(v.string()),
});

export const PodsSchema = v.array(
  v.looseObject({
    namespace: v.string(),
    name: v.string(),
    uid: v.string(),
    state: v.picklist(['enrolled', 'left', 'failed']),
    reason: v.nullable(v.string()),
    error: v.nullable(ErrorReportSchema),
    mesh: v.nullable(v.string()),
    backend: v.nullable(v.picklist(['ebpf', 'iptables'])),
    backendReason: v.nullable(v.string()),
    others: v.array(v.string()),
    ip4: v.nullable(v.string()),
    ip6: v.nullable(v.string()),
    netns: v.nullable(v.looseObject({ path: v.string(), cookie: v.string() })),
    identity: v.nullable(v.picklist(['cgroup', 'uid'])),
    policy: v.nullable(RedirectPolicySchema),
    held: v.nullable(HeldPodSchema),
  }),
);

export const StatusSchema = v.looseObject({
  version: v.string(),
  pid: v.number(),
  startedAt: v.string(),
  backend: v.picklist(['ebpf', 'iptables']),
  tier: v.looseObject({ tier: v.picklist([0, 1, 2, 3]), name: v.string(), limit: v.nullable(v.string()) }),
  backendReason: v.string(),
  cgroup: v.nullable(v.string()),
  bpffs: v.string(),
  source: v.looseObject({
    kind: v.optional(v.picklist(['files', 'kubernetes']), 'files'),
    path: v.string(),
    manifests: v.number(),
    rejected: v.array(v.looseObject({ ...ErrorReportSchema.entries, file: v.string() })),
  }),
  settings: v.looseObject({ path: v.nullable(v.string()), error: v.nullable(ErrorReportSchema) }),
  adopted: v.looseObject({ links: v.number(), pods: v.number() }),
  drift: v.looseObject({
    checkedAt: v.string(),
    repaired: v.array(v.string()),
    outstanding: v.array(v.string()),
  }),
  acceleration: AccelerationSchema,
  pods: v.looseObject({ enrolled: v.number(), left: v.number(), failed: v.number() }),
  enrolledBy: v.looseObject({ ebpf: v.number(), iptables: v.number() }),
  links: v.array(
    v.looseObject({
      name: v.string(),
      attachType: v.string(),
      attached: v.boolean(),
      linkId: v.number(),
      programId: v.number(),
    }),
  ),
  maps: v.array(
    v.looseObject({
      name: v.string(),
      type: v.string(),
      entries: v.nullable(v.number()),
      capacity: v.number(),
    }),
  ),
});
