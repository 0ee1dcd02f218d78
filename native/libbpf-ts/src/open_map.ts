import { badValue, check } from './errors.ts';
import { libbpf } from './ffi.ts';
import type { Named } from './info.ts';
import type { KernelMap } from './map.ts';
import { MAP_TYPES, type MapType, nameOf } from './uapi.ts';

/** A map of an object that is not loaded yet. */
export class OpenMap {
  readonly name: string;
  readonly type: Named<MapType>;
  readonly keySize: number;
  readonly valueSize: number;
  readonly flags: number;
  readonly #pointer: bigint;
  readonly #usable: () => void;

  constructor(pointer: bigint, usable: () => void) {
    this.#pointer = pointer;
    this.#usable = usable;
    this.name = libbpf.bpf_map__name(pointer) ?? '';
    this.type = nameOf(MAP_TYPES, libbpf.bpf_map__type(pointer));
    this.keySize = libbpf.bpf_map__key_size(pointer);
    this.valueSize = libbpf.bpf_map__value_size(pointer);
    this.flags = libbpf.bpf_map__map_flags(pointer);
  }

  /** Capacity; bytes for a ring buffer, where it must be a power of two and a multiple of the page. */
  get maxEntries(): number {
    this.#usable();
    return libbpf.bpf_map__max_entries(this.#pointer);
  }

  set maxEntries(entries: number) {
    this.#usable();
    if (!Number.isInteger(entries) || entries < 1 || entries > 0xffff_ffff) {
      throw badValue(`maxEntries ${entries}`, `map ${this.name}`);
    }
    check(libbpf.bpf_map__set_max_entries(this.#pointer, entries), 'set maxEntries of', `map ${this.name}`);
  }

  /** Where it is pinned at load. A map of the same shape that is pinned there already is used instead. */
  get pinPath(): string | undefined {
    this.#usable();
    return libbpf.bpf_map__pin_path(this.#pointer) ?? undefined;
  }

  set pinPath(path: string) {
    this.#usable();
    check(libbpf.bpf_map__set_pin_path(this.#pointer, path), 'set pin path of', `map ${this.name}`);
  }

  /** Uses a map that exists in place of a new one. Its type and sizes replace the object's. */
  reuse(map: KernelMap): void {
    this.#usable();
    check(libbpf.bpf_map__reuse_fd(this.#pointer, map.fd), 'reuse', map.target);
  }
}
