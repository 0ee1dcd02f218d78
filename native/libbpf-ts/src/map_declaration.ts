import type { Btf, BtfOf } from './btf.ts';

/** What `struct { __uint(type, ...); __type(key, ...); } name SEC(".maps")` says, with types as BTF ids. */
export interface MapDeclaration {
  name: string;
  type: number;
  key: number | undefined;
  value: number | undefined;
  keySize: number | undefined;
  valueSize: number | undefined;
}

/** Variables of the sections that `wanted` picks. */
export function* variables(btf: Btf, wanted: (section: string) => boolean): Generator<BtfOf<'var'>> {
  for (const type of btf.types) {
    if (type.kind !== 'datasec' || !wanted(type.name)) continue;
    for (const { type: id } of type.vars) {
      const variable = btf.type(id);
      if (variable.kind === 'var') yield variable;
    }
  }
}

/** The maps that an object declares. Attributes are members: __uint(n) is `int (*)[n]`, __type(t) is `t *`. */
export function* mapDeclarations(btf: Btf): Generator<MapDeclaration> {
  for (const variable of variables(btf, (section) => section === '.maps')) {
    const declaration = btf.resolve(variable.type);
    if (declaration.kind !== 'struct') continue;
    const pointee = (name: string): number | undefined => {
      const member = declaration.members.find((candidate) => candidate.name === name);
      const pointer = member && btf.resolve(member.type);
      return pointer?.kind === 'ptr' ? pointer.type : undefined;
    };
    const uint = (name: string): number | undefined => {
      const array = pointee(name);
      const type = array === undefined ? undefined : btf.resolve(array);
      return type?.kind === 'array' ? type.length : undefined;
    };
    yield {
      name: variable.name,
      type: uint('type') ?? 0,
      key: pointee('key'),
      value: pointee('value'),
      keySize: uint('key_size'),
      valueSize: uint('value_size'),
    };
  }
}

/** Characters of a name that the kernel keeps. */
const KEPT = 15;

/** The declaration of a map by its name in the kernel, which may be cut. */
export function mapDeclaration(btf: Btf, kernelName: string): MapDeclaration | undefined {
  for (const declaration of mapDeclarations(btf)) {
    if (declaration.name.slice(0, KEPT) === kernelName) return declaration;
  }
  return undefined;
}
