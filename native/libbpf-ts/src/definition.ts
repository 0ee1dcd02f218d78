import type { Codec } from './codec.ts';
import { badValue } from './errors.ts';
import type { BpfMap } from './map.ts';
import type { PerCpuMap } from './percpu_map.ts';
import type { RingBufferMap } from './ring_buffer.ts';
import type { SkStorageMap, SockMap } from './socket_map.ts';
import type { MapType } from './uapi.ts';

/** A map of an object file, as the generator writes it down. Types without key or value leave them out. */
export interface MapDefinition {
  readonly type: MapType;
  // biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in its type, and any codec will do here
  readonly key?: Codec<any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly value?: Codec<any>;
}

/** A program of an object file. */
export interface ProgramDefinition {
  /** Its ELF section, which tells type and attach type: 'cgroup/connect4'. */
  readonly section: string;
}

export type MapDefinitions = Readonly<Record<string, MapDefinition>>;
export type ProgramDefinitions = Readonly<Record<string, ProgramDefinition>>;
// biome-ignore lint/suspicious/noExplicitAny: as above
export type RodataDefinitions = Readonly<Record<string, Codec<any>>>;

type KeyOf<D> = D extends { readonly key: Codec<infer K> } ? K : Uint8Array;
type ValueOf<D> = D extends { readonly value: Codec<infer V> } ? V : Uint8Array;

/** The class that a map of this definition becomes. */
export type MapOf<D extends MapDefinition> = D['type'] extends 'ringbuf'
  ? RingBufferMap
  : D['type'] extends 'percpu_hash' | 'percpu_array' | 'lru_percpu_hash'
    ? PerCpuMap<KeyOf<D>, ValueOf<D>>
    : D['type'] extends 'sockhash' | 'sockmap'
      ? SockMap<KeyOf<D>>
      : D['type'] extends 'sk_storage'
        ? SkStorageMap<ValueOf<D>>
        : BpfMap<KeyOf<D>, ValueOf<D>>;

/** Values of the `const volatile` globals. */
export type RodataOf<R extends RodataDefinitions> = {
  -readonly [N in keyof R]: R[N] extends Codec<infer T> ? T : never;
};

const REGENERATE = 'run `libbpf-ts gen` on the object file again';

/** The generated description must be of this file: a stale one would write values of the wrong shape. */
export function verify(
  definition: { maps: MapDefinitions; programs: ProgramDefinitions },
  maps: Readonly<Record<string, { type: string; keySize: number; valueSize: number }>>,
  programs: Readonly<Record<string, unknown>>,
): void {
  for (const [name, wanted] of Object.entries(definition.maps)) {
    const map = maps[name];
    if (map === undefined) throw badValue('the object file has no such map', `map ${name}`, REGENERATE);
    if (map.type !== wanted.type) {
      throw badValue(`it is a ${map.type}, generated code has ${wanted.type}`, `map ${name}`, REGENERATE);
    }
    const key = wanted.key?.size ?? map.keySize;
    const value = wanted.value?.size ?? map.valueSize;
    if (key !== map.keySize || value !== map.valueSize) {
      throw badValue(
        `keys and values have ${map.keySize} and ${map.valueSize} bytes, in generated code ${key} and ${value}`,
        `map ${name}`,
        REGENERATE,
      );
    }
  }
  for (const name of Object.keys(definition.programs)) {
    if (programs[name] === undefined) {
      throw badValue('the object file has no such program', `program ${name}`, REGENERATE);
    }
  }
}
