import { release } from 'node:os';
import { VERSION } from '../version.ts';
import type { Context } from './context.ts';
import { type Field, renderFields } from './output/table.ts';
import { write } from './output/writer.ts';

/** JSON shape of `shunt version`. */
interface Versions {
  shunt: string;
  node: string;
  /** Null where libbpf cannot be loaded; `shunt doctor` tells why. */
  libbpf: string | null;
  kernel: string;
}

const FIELDS: readonly Field<Versions>[] = [
  { label: 'Shunt', value: (versions) => versions.shunt },
  { label: 'Node', value: (versions) => versions.node },
  { label: 'libbpf', value: (versions) => versions.libbpf },
  { label: 'Kernel', value: (versions) => versions.kernel },
];

export async function version(context: Context): Promise<undefined> {
  const versions: Versions = {
    shunt: VERSION,
    node: process.versions.node,
    libbpf: await libbpf(),
    kernel: release(),
  };
  await write(context.io, context.format, {
    data: versions,
    names: () => [`version/${versions.shunt}`],
    text: (look) => renderFields(FIELDS, versions, look),
  });
}

async function libbpf(): Promise<string | null> {
  try {
    const { libbpfVersion } = await import('../datapath/ebpf/inspect.ts');
    return libbpfVersion();
  } catch {
    // A version is asked for, not whether all is well.
    return null;
  }
}
