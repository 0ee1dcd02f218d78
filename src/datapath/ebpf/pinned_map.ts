/** One pinned map, opened by its name and read through the BTF that the kernel keeps of it. */
import { BpfError, type DecodedMap, type MapInfo, openPinnedMap as openPin, sumOf } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';
import { Pins, unprefixed } from './pins.ts';
import { SHOWN_TYPES } from './shown.ts';

/** An entry as people and scripts see it: addresses as text, flags and enums by name, 64 bits as bigint. */
export interface MapEntry {
  key: unknown;
  /** Of a per-CPU map: one value for each possible CPU. */
  value: unknown;
}

export class PinnedMap implements Disposable {
  /** Name of the pin. */
  readonly name: string;
  readonly path: string;
  readonly #map: DecodedMap;

  /**
   * @param bpffs mount point of the BPF file system
   * @param name of the pin, with or without the kernel's prefix
   * @throws SHUNT_E_PINS_MISSING, SHUNT_E_MAP_UNKNOWN, and BpfError where the pin may not be opened
   */
  constructor(bpffs: string, name: string) {
    const pins = new Pins(bpffs);
    this.name = unprefixed(name);
    this.path = pins.map(name);
    const known = pins.mapNames();
    if (known.length === 0) throw new ShuntError('SHUNT_E_PINS_MISSING', undefined, { target: pins.root });
    // Looked up, not joined: a name with slashes in it opens nothing.
    if (!known.includes(this.name)) throw new ShuntError('SHUNT_E_MAP_UNKNOWN', undefined, { target: name });
    this.#map = openPin(this.path, { types: SHOWN_TYPES });
  }

  get info(): MapInfo {
    return this.#map.info;
  }

  /** C name of the key's type. */
  get keyType(): string {
    return this.#map.keyType;
  }

  get valueType(): string {
    return this.#map.valueType;
  }

  get perCpu(): boolean {
    return this.info.type.includes('percpu');
  }

  /** @throws SHUNT_E_MAP_NOT_WALKABLE */
  *entries(): Generator<MapEntry, void, void> {
    for (const [key, value] of this.#walk(() => this.#map.entries())) yield { key, value };
  }

  /** How many entries there are; null where they cannot be walked. The kernel keeps no count: this walks the map. */
  count(): number | null {
    try {
      return this.#map.size();
    } catch (error) {
      if (isNotWalkable(error)) return null;
      throw error;
    }
  }

  /**
   * One entry.
   *
   * @param text a number, JSON in the form that entries() shows, name=value pairs, or hex bytes (0x…)
   * @throws SHUNT_E_MAP_KEY, SHUNT_E_MAP_NOT_WALKABLE
   */
  get(text: string): MapEntry | undefined {
    this.#walk(() => this.#map.keys());
    const key = this.#parseKey(text);
    const value = this.#walk(() => this.#map.get(key));
    return value === undefined ? undefined : { key, value };
  }

  /** Writes an entry in the form that entries() shows. */
  set({ key, value }: MapEntry): void {
    this.#map.set(key, value);
  }

  [Symbol.dispose](): void {
    this.#map.close();
  }

  #parseKey(text: string): unknown {
    if (text.trim() === '') throw new ShuntError('SHUNT_E_MAP_KEY', 'the key is empty');
    try {
      return this.#map.parseKey(text);
    } catch (cause) {
      if (!(cause instanceof BpfError)) throw cause;
      throw new ShuntError('SHUNT_E_MAP_KEY', cause.message, { target: text, cause });
    }
  }

  #walk<T>(read: () => T): T {
    try {
      return read();
    } catch (cause) {
      if (!isNotWalkable(cause)) throw cause;
      throw new ShuntError('SHUNT_E_MAP_NOT_WALKABLE', undefined, {
        target: `${this.name} (${this.info.type})`,
        cause,
      });
    }
  }
}

/** The value of a per-CPU map added up over the CPUs, number by number. */
export function summed(value: unknown): unknown {
  return Array.isArray(value) ? sumOf(value) : value;
}

function isNotWalkable(error: unknown): boolean {
  return error instanceof BpfError && error.code === 'ENOTSUP';
}
