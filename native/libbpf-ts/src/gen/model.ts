import { Btf } from '../btf.ts';
import { BpfError, badValue } from '../errors.ts';
import { mapDeclarations, variables } from '../map_declaration.ts';
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

function* mapsOf(btf: Btf, shapes: Shapes): Generator<ModelMap> {
  for (const { name, type: number, key, value, keySize, valueSize } of mapDeclarations(btf)) {
    const type = MAP_TYPES[number];
    if (type === undefined || type === 'unspec') throw badValue(`unknown map type ${number}`, `map ${name}`);
    const side = (id: number | undefined, size: number | undefined): Shape | undefined => {
      if (id !== undefined) return shapes.of(id);
      return size === undefined || size === 0 ? undefined : { kind: 'bytes', size };
    };
    yield { name, type, key: side(key, keySize), value: side(value, valueSize) };
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
