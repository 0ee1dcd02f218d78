/** Bit numbers of include/uapi/linux/capability.h. */
export const CAPABILITIES = {
  DAC_READ_SEARCH: 2,
  NET_ADMIN: 12,
  SYS_PTRACE: 19,
  SYS_ADMIN: 21,
  PERFMON: 38,
  BPF: 39,
} as const;

export type Capability = keyof typeof CAPABILITIES;

/**
 * Effective capabilities out of /proc/self/status.
 *
 * @param status the file's content
 */
export function effectiveCapabilities(status: string): Set<Capability> {
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const names = new Set<Capability>();
  let name: Capability;
  for (name in CAPABILITIES) {
    if ((mask >> BigInt(CAPABILITIES[name])) & 1n) names.add(name);
  }
  return names;
}
