import * as v from 'valibot';
import type { Context } from './context.ts';
import { runDemo } from './demo/demo.ts';

const Options = v.object({
  sidecar: v.optional(v.picklist(['envoy', 'haproxy'])),
  backend: v.optional(v.picklist(['ebpf', 'iptables']), 'ebpf'),
  keep: v.optional(v.boolean(), false),
  latency: v.optional(v.boolean(), true),
});

/** Exit 1 when an expectation failed, 128 + n when signal n ended it. */
export async function demo(context: Context, given: unknown): Promise<number> {
  const { io, format, socket, bpffs } = context;
  return await runDemo({ ...v.parse(Options, given), format, socket, bpffs }, io);
}
