import type { Btf, BtfOf } from './btf.ts';
import { type Codec, codec } from './codec.ts';
import type { RodataDefinitions } from './definition.ts';
import { badValue, check } from './errors.ts';
import { copyOf, libbpf } from './ffi.ts';

interface Section {
  map: bigint;
  bytes: DataView;
}

interface Variable {
  name: string;
  section: Section;
  offset: number;
  codec: Codec<unknown>;
}

/** The `const volatile` globals of an object that is not loaded yet: settings that the verifier takes for constants. */
export class Rodata {
  /** A property for each variable. */
  readonly accessors: Record<string, unknown> = {};
  readonly #sections: Section[] = [];
  #committed = false;

  /**
   * @param object libbpf's object
   * @param btf its BTF, with the offsets that libbpf filled in; null where nothing is to be set
   * @param definitions codecs by name; without, every variable is bytes
   */
  constructor(object: bigint, btf: Btf | null, definitions: RodataDefinitions | undefined) {
    if (btf === null) return;
    const found = new Map<string, Variable>();
    for (const type of btf.types) {
      if (type.kind !== 'datasec' || !type.name.startsWith('.rodata')) continue;
      const section = initialValue(object, type.name);
      if (section === undefined) continue;
      this.#sections.push(section);
      for (const variable of variablesOf(btf, type, section, definitions)) found.set(variable.name, variable);
    }
    for (const name of Object.keys(definitions ?? Object.fromEntries(found))) {
      const variable = found.get(name);
      if (variable === undefined) {
        throw badValue(
          'the object file has no such const volatile',
          `rodata ${name}`,
          'run `libbpf-ts gen` again',
        );
      }
      this.#define(variable);
    }
  }

  #define({ name, section, offset, codec: type }: Variable): void {
    Object.defineProperty(this.accessors, name, {
      enumerable: true,
      get: () => type.read(section.bytes, offset),
      set: (value: unknown) => {
        if (this.#committed) throw badValue('it is fixed once the object is loaded', `rodata ${name}`);
        type.write(section.bytes, offset, value);
      },
    });
  }

  /** Hands the values to libbpf. */
  commit(): void {
    this.#committed = true;
    for (const { map, bytes } of this.#sections) {
      check(libbpf.bpf_map__set_initial_value(map, bytes, bytes.byteLength), 'set', 'rodata');
    }
  }
}

function initialValue(object: bigint, section: string): Section | undefined {
  const map = libbpf.bpf_object__find_map_by_name(object, section);
  if (map === null) return undefined;
  const size = new BigUint64Array(1);
  const address = libbpf.bpf_map__initial_value(map, size);
  if (address === null) return undefined;
  return { map, bytes: new DataView(copyOf(address, Number(size[0])).buffer) };
}

function* variablesOf(
  btf: Btf,
  section: BtfOf<'datasec'>,
  memory: Section,
  definitions: RodataDefinitions | undefined,
): Generator<Variable> {
  for (const { type: id, offset, size } of section.vars) {
    const variable = btf.type(id);
    if (variable.kind !== 'var' || !btf.isVolatile(variable.type)) continue;
    const { name } = variable;
    const known = definitions?.[name];
    if (known !== undefined && known.size !== size) {
      throw badValue(
        `${size} bytes, in generated code ${known.size}`,
        `rodata ${name}`,
        'run `libbpf-ts gen` again',
      );
    }
    yield { name, section: memory, offset, codec: known ?? codec.bytes(size) };
  }
}
