import { Btf, type BtfOf } from '../btf.ts';
import { BpfError, badValue } from '../errors.ts';
import { type Shape, Shapes } from '../shape.ts';
import { MAP_TYPES, type MapType } from '../uapi.ts';
import { parseElf } from './elf.ts';

export interface ModelMap {
  name: string;
  type: MapType;
  key: Shape | undefined;
  value: Shape | undefined;
}

/** What an object file offers to user space. */
export interface ObjectModel {
  maps: ModelMap[];
  programs: { name: string; section: string }[];
  rodata: { name: string; shape: Shape }[];
  /** Types that the object names for user space through an unused global. */
  named: Shape[];
}

/** Reads an object file. Everything is sorted by name, so that the output depends on nothing else. */
export function readModel(bytes: Uint8Array): ObjectModel {
  const elf = parseElf(bytes);
  const section = elf.section('.BTF');
  if (section === undefined) {
    throw new BpfError({
      code: 'BAD_VALUE',
      op: 'read object',
      detail: 'it has no BTF',
      hint: 'compile it with -g',
    });
  }
  const btf = Btf.parse(section);
  const shapes = new Shapes(btf);
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
  return {
    maps: [...mapsOf(btf, shapes)].sort(byName),
    programs: elf.programs.sort(byName),
    rodata: [...rodataOf(btf, shapes)].sort(byName),
    named: [...namedTypes(btf, shapes)],
  };
}

function* variables(btf: Btf, wanted: (section: string) => boolean): Generator<BtfOf<'var'>> {
  for (const type of btf.types) {
    if (type.kind !== 'datasec' || !wanted(type.name)) continue;
    for (const { type: id } of type.vars) {
      const variable = btf.type(id);
      if (variable.kind === 'var') yield variable;
    }
  }
}

/** A map is a struct whose members spell its attributes: __uint(n) is `int (*)[n]`, __type(t) is `t *`. */
function* mapsOf(btf: Btf, shapes: Shapes): Generator<ModelMap> {
  for (const variable of variables(btf, (section) => section === '.maps')) {
    const definition = btf.resolve(variable.type);
    if (definition.kind !== 'struct') throw badValue('not a BTF map definition', `map ${variable.name}`);
    const pointee = (name: string): number | undefined => {
      const member = definition.members.find((candidate) => candidate.name === name);
      const pointer = member && btf.resolve(member.type);
      return pointer?.kind === 'ptr' ? pointer.type : undefined;
    };
    const uint = (name: string): number | undefined => {
      const array = pointee(name);
      const type = array === undefined ? undefined : btf.resolve(array);
      return type?.kind === 'array' ? type.length : undefined;
    };
    const type = MAP_TYPES[uint('type') ?? 0];
    if (type === undefined || type === 'unspec') throw badValue('unknown map type', `map ${variable.name}`);
    const side = (name: string): Shape | undefined => {
      const typed = pointee(name);
      if (typed !== undefined) return shapes.of(typed);
      const size = uint(`${name}_size`);
      return size === undefined || size === 0 ? undefined : { kind: 'bytes', size };
    };
    yield { name: variable.name, type, key: side('key'), value: side('value') };
  }
}

function* rodataOf(btf: Btf, shapes: Shapes): Generator<{ name: string; shape: Shape }> {
  for (const variable of variables(btf, (section) => section.startsWith('.rodata'))) {
    if (btf.isVolatile(variable.type)) yield { name: variable.name, shape: shapes.of(variable.type) };
  }
}

/**
 * Types named by a global: `const struct event *unused_event __attribute__((unused))`. Only such a pointer puts a
 * type that no map uses into BTF. Kernel types reached by CO-RE are locals' types, so they stay out.
 */
function* namedTypes(btf: Btf, shapes: Shapes): Generator<Shape> {
  for (const variable of variables(btf, (section) => /^\.(bss|data)/.test(section))) {
    const type = btf.resolve(variable.type);
    const id = type.kind === 'ptr' ? type.type : variable.type;
    const target = btf.resolve(id);
    const named = target.kind === 'struct' || target.kind === 'union' || target.kind.startsWith('enum');
    if (named && target.name !== '') yield shapes.of(id);
  }
}
