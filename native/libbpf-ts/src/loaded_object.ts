import { codec } from './codec.ts';
import type { MapDefinition, MapDefinitions, MapOf, ProgramDefinitions } from './definition.ts';
import { BpfError } from './errors.ts';
import { mapInfo } from './info.ts';
import { BpfMap, type KernelMap } from './map.ts';
import { PerCpuMap } from './percpu_map.ts';
import type { Program } from './program.ts';
import { RingBufferMap } from './ring_buffer.ts';
import { SkStorageMap, SockMap } from './socket_map.ts';
import { isPerCpu } from './uapi.ts';

/** Maps and programs in the kernel. Closing it closes them; what is pinned or attached by a pinned link stays. */
export class LoadedObject<M extends MapDefinitions, P extends ProgramDefinitions> implements Disposable {
  readonly name: string;
  readonly maps: { readonly [N in keyof M]: MapOf<M[N]> };
  /** Reading one whose autoload was switched off throws BpfError ENOENT. */
  readonly programs: { readonly [N in keyof P]: Program };

  constructor(
    name: string,
    maps: { readonly [N in keyof M]: MapOf<M[N]> },
    programs: { readonly [N in keyof P]: Program },
  ) {
    this.name = name;
    this.maps = maps;
    this.programs = programs;
  }

  [Symbol.dispose](): void {
    for (const map of Object.values<KernelMap>(this.maps)) map.close();
    for (const program of Object.values<Program>(this.programs)) program.close();
  }
}

/** A program that was not loaded: reading it says why, where an undefined would fail somewhere else. */
export function defineAbsent(programs: Record<string, Program>, name: string): void {
  Object.defineProperty(programs, name, {
    enumerable: false,
    get() {
      throw new BpfError({
        code: 'ENOENT',
        op: 'use',
        target: `program ${name}`,
        detail: 'it was not loaded',
        hint: 'set its autoload to true before load',
      });
    },
  });
}

/** The class for a map by its type; without a definition keys and values are bytes. */
export function makeMap(
  fd: number,
  name: string,
  pinPath: string | undefined,
  definition?: MapDefinition,
): KernelMap {
  const options = { name, pinPath };
  const { type, keySize, valueSize } = mapInfo(fd);
  if (type === 'ringbuf') return new RingBufferMap(fd, options);
  const key = definition?.key ?? codec.bytes(keySize);
  const value = definition?.value ?? codec.bytes(valueSize);
  if (isPerCpu(type)) return new PerCpuMap(fd, { key, value }, options);
  if (type === 'sockhash' || type === 'sockmap') return new SockMap(fd, { key, value }, options);
  if (type === 'sk_storage') return new SkStorageMap(fd, { value }, options);
  return new BpfMap(fd, { key, value }, options);
}
