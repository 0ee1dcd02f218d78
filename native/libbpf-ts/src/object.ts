import { basename } from 'node:path';
import {
  type MapDefinitions,
  type MapOf,
  type ProgramDefinitions,
  type RodataDefinitions,
  type RodataOf,
  verify,
} from './definition.ts';
import { BpfError, check } from './errors.ts';
import { duplicateFd, libbpf } from './ffi.ts';
import { loadError, mismatchAt } from './load_error.ts';
import { defineAbsent, LoadedObject, makeMap } from './loaded_object.ts';
import type { KernelMap } from './map.ts';
import { type OpenOptions, objectBtf, openMemory, readObject, walk } from './object_file.ts';
import { OpenMap } from './open_map.ts';
import { attachTypeOf, OpenProgram } from './open_program.ts';
import { captureLater } from './print_capture.ts';
import { Program } from './program.ts';
import { Rodata } from './rodata.ts';
import { LogBuffers } from './verifier_log.ts';

export interface OpenFileOptions extends OpenOptions {
  /** The object file: a path, or its bytes. */
  file: string | Uint8Array;
}

/** An object file's description: what `libbpf-ts gen` writes. */
export interface ObjectDefinition<
  M extends MapDefinitions,
  P extends ProgramDefinitions,
  R extends RodataDefinitions,
> {
  readonly name: string;
  readonly maps: M;
  readonly programs: P;
  readonly rodata: R;
  /**
   * Reads an object file; nothing is in the kernel yet.
   * @throws BpfError BAD_VALUE when the file is not the one that this was generated from
   */
  open(options: OpenFileOptions): OpenObject<M, P, R>;
}

/** Describes an object file by hand or from the generator, so that its maps and settings are typed. */
export function defineObject<
  const M extends MapDefinitions,
  const P extends ProgramDefinitions,
  const R extends RodataDefinitions = Record<never, never>,
>(definition: { name: string; maps: M; programs: P; rodata?: R }): ObjectDefinition<M, P, R> {
  const full = { ...definition, rodata: definition.rodata ?? ({} as R) };
  return { ...full, open: (options) => new OpenObject(options, full) };
}

/** An object file opened without a description: maps and programs by name, keys and values as bytes. */
export type UntypedObject = OpenObject<MapDefinitions, ProgramDefinitions, RodataDefinitions>;

/** Opens any object file. @throws BpfError EINVAL when it is not one */
export function openObject(file: string | Uint8Array, options: OpenOptions = {}): UntypedObject {
  return new OpenObject({ ...options, file });
}

/**
 * An object file read into memory. Settings are made here; `load` consumes it. Holds no kernel object.
 */
export class OpenObject<M extends MapDefinitions, P extends ProgramDefinitions, R extends RodataDefinitions>
  implements Disposable
{
  readonly name: string;
  readonly maps: { readonly [N in keyof M]: OpenMap };
  readonly programs: { readonly [N in keyof P]: OpenProgram };
  /** The `const volatile` globals. Set before load they are constants to the verifier, which prunes by them. */
  readonly rodata: RodataOf<R>;
  readonly #definition: { maps: M; programs: P } | undefined;
  readonly #mapPointers: readonly { name: string; pointer: bigint }[];
  readonly #programPointers: readonly { name: string; pointer: bigint }[];
  readonly #rodata: Rodata;
  #pointer: bigint | undefined;

  constructor(options: OpenFileOptions, definition?: { name: string; maps: M; programs: P; rodata: R }) {
    this.#definition = definition;
    const { file } = options;
    this.name =
      definition?.name ?? (typeof file === 'string' ? basename(file).replace(/\..*$/, '') : 'object');
    const bytes = typeof file === 'string' ? readObject(file) : file;
    const pointer = openMemory(bytes, this.name, options);
    this.#pointer = pointer;
    try {
      const usable = (): void => void this.#live();
      this.#mapPointers = walk(libbpf.bpf_object__next_map, libbpf.bpf_map__name, pointer).filter(
        ({ pointer: map }) => !libbpf.bpf_map__is_internal(map),
      );
      this.#programPointers = walk(libbpf.bpf_object__next_program, libbpf.bpf_program__name, pointer);
      const maps = Object.fromEntries(
        this.#mapPointers.map((map) => [map.name, new OpenMap(map.pointer, usable)]),
      );
      const programs = Object.fromEntries(
        this.#programPointers.map((program) => [program.name, new OpenProgram(program.pointer, usable)]),
      );
      if (definition !== undefined) verify(definition, maps, programs);
      this.maps = maps as { [N in keyof M]: OpenMap };
      this.programs = programs as { [N in keyof P]: OpenProgram };
      // Its types are many to read: for an object that has none of these, not at all.
      const hasRodata = definition === undefined || Object.keys(definition.rodata).length > 0;
      this.#rodata = new Rodata(pointer, hasRodata ? objectBtf(pointer) : null, definition?.rodata);
      this.rodata = this.#rodata.accessors as RodataOf<R>;
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #live(): bigint {
    if (this.#pointer === undefined) {
      throw new BpfError({
        code: 'CLOSED',
        op: 'use',
        target: `object ${this.name}`,
        detail: 'it was loaded or closed',
        hint: 'settings are made between open and load; open the file again to load it again',
      });
    }
    return this.#pointer;
  }

  /**
   * Makes the maps and has the verifier check the programs, on a thread of libuv's pool. Loads take turns.
   * The object is used up, whether it succeeds or not.
   * @throws BpfError naming the program or map that failed; `log` holds what the verifier said
   */
  async load(): Promise<LoadedObject<M, P>> {
    const pointer = this.#live();
    this.#rodata.commit();
    const pins = Object.values<OpenMap>(this.maps).map((map) => ({
      map: map.name,
      path: map.pinPath,
      shape: {
        type: map.type,
        keySize: map.keySize,
        valueSize: map.valueSize,
        maxEntries: map.maxEntries,
        flags: map.flags,
      },
    }));
    const wanted = this.#programPointers.filter((program) => libbpf.bpf_program__autoload(program.pointer));
    using logs = new LogBuffers(wanted);
    this.#pointer = undefined; // from here on nobody may touch it: it is in use on another thread
    try {
      const { result, said } = await captureLater(() => libbpf.bpf_object__load.later(pointer));
      if (result < 0) {
        const mismatch = pins
          .flatMap(({ map, path, shape }) => {
            const difference = path === undefined ? undefined : mismatchAt(path, shape);
            return difference === undefined ? [] : [{ map, difference }];
          })
          .at(0);
        throw loadError({ result, object: this.name, verifier: logs.failed(), said, mismatch });
      }
      return this.#adopt();
    } finally {
      libbpf.bpf_object__close(pointer);
    }
  }

  /** Takes descriptors of its own of everything loaded, so that libbpf's object can go. */
  #adopt(): LoadedObject<M, P> {
    const owned: Disposable[] = [];
    try {
      const maps: Record<string, KernelMap> = {};
      for (const { name, pointer } of this.#mapPointers) {
        const fd = check(duplicateFd(libbpf.bpf_map__fd(pointer)), 'load', `map ${name}`);
        const pinPath = libbpf.bpf_map__pin_path(pointer) ?? undefined;
        const map = makeMap(fd, name, pinPath, this.#definition?.maps[name]);
        maps[name] = map;
        owned.push(map);
      }
      const programs: Record<string, Program> = {};
      for (const { name, pointer } of this.#programPointers) {
        const loaded = libbpf.bpf_program__fd(pointer);
        if (loaded < 0) {
          defineAbsent(programs, name);
          continue;
        }
        const fd = check(duplicateFd(loaded), 'load', `program ${name}`);
        const program = new Program(fd, { name, attachType: attachTypeOf(pointer) });
        programs[name] = program;
        owned.push(program);
      }
      return new LoadedObject(
        this.name,
        maps as { [N in keyof M]: MapOf<M[N]> },
        programs as { [N in keyof P]: Program },
      );
    } catch (error) {
      for (const one of owned) one[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    if (this.#pointer === undefined) return;
    libbpf.bpf_object__close(this.#pointer);
    this.#pointer = undefined;
  }
}
