import * as v from 'valibot';

/**
 * The answers of the agent as they arrive: loose, so that an agent with more fields is still understood, and what
 * it adds is printed by `-o json` as it came.
 */
const count = v.pipe(
  v.string(),
  v.regex(/^\d+$/),
  v.transform((text) => BigInt(text)),
);
const ranges = v.array(v.object({ first: v.number(), last: v.number() }));

export const ErrorReportSchema = v.looseObject({ code: v.string(), message: v.string(), fix: v.string() });
export const ErrorAnswer = v.object({ error: ErrorReportSchema });

const RedirectPolicySchema = v.looseObject({
  mesh: v.string(),
  identity: v.looseObject({ proxyUids: v.array(v.number()), proxyGids: v.array(v.number()) }),
  ports: v.looseObject({ outbound: v.number(), inbound: v.number(), tunnel: v.nullable(v.number()) }),
  loopback: v.looseObject({ selfCallInbound: v.boolean(), passthroughSource: v.boolean() }),
  outbound: v.looseObject({
    excludePorts: ranges,
    includePorts: ranges,
    excludeCidrs: v.array(v.string()),
    includeCidrs: v.union([v.literal('*'), v.array(v.string())]),
  }),
  inbound: v.looseObject({ includePorts: v.union([v.literal('*'), ranges]), excludePorts: ranges }),
});

const HeldPodSchema = v.looseObject({
  cookie: count,
  ip4: v.nullable(v.string()),
  ip6: v.nullable(v.string()),
  inbound: v.boolean(),
  listeners: v.looseObject({ ip4: v.number(), ip6: v.number() }),
  acceleration: v.picklist(['off', 'outbound', 'full']),
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
  cgroup: v.string(),
  bpffs: v.string(),
  source: v.looseObject({
    path: v.string(),
    manifests: v.number(),
    rejected: v.array(v.looseObject({ ...ErrorReportSchema.entries, file: v.string() })),
  }),
  adopted: v.looseObject({ links: v.number(), pods: v.number() }),
  drift: v.looseObject({
    checkedAt: v.string(),
    repaired: v.array(v.string()),
    outstanding: v.array(v.string()),
  }),
  acceleration: AccelerationSchema,
  pods: v.looseObject({ enrolled: v.number(), left: v.number(), failed: v.number() }),
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
