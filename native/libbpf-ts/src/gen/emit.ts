import { badValue } from '../errors.ts';
import type { EnumShape, Field, Shape, StructShape } from '../shape.ts';
import type { ObjectModel } from './model.ts';

/** An object file to write a definition for. */
export interface EmitObject {
  model: ObjectModel;
  /** Name of the exported definition, and of the object. */
  name: string;
  /** File name for the heading. */
  source: string;
}

/**
 * TypeScript for object files: their types and codecs, those that they share once, and a `defineObject` for each.
 *
 * @param importFrom module specifier of this package
 * @throws BpfError BAD_VALUE when two of the objects give one name to different types
 */
export function emit(objects: readonly EmitObject[], importFrom: string): string {
  const out = new Emitter();
  const definitions = objects.map(({ model, name, source }) => {
    out.begin(source);
    return definition(out, model, name);
  });
  const body = [...out.blocks, ...definitions].join('\n\n');
  const imports = [
    ...(/\bCodec</.test(body) ? ['type Codec'] : []),
    ...(/\bcodec\./.test(body) ? ['codec'] : []),
    'defineObject',
  ].join(', ');
  const sources = objects.map(({ source }) => source).join(', ');
  return `// Written by \`libbpf-ts gen\` from ${sources}. Do not edit: change the C types and run it again.\n\nimport { ${imports} } from '${importFrom}';\n\n${body}\n`;
}

function definition(out: Emitter, model: ObjectModel, name: string): string {
  const maps = model.maps.map((map) => {
    const sides = (['key', 'value'] as const).flatMap((side) => {
      const shape = map[side];
      return shape === undefined ? [] : [`      ${side}: ${out.codec(shape, [map.name, side])},`];
    });
    return [`    ${map.name}: {`, `      type: '${map.type}',`, ...sides, '    },'].join('\n');
  });
  const rodata = model.rodata.map((field) => `    ${field.name}: ${out.codec(field.shape, [field.name])},`);
  for (const shape of model.named) out.codec(shape, []);
  const programs = model.programs.map((program) => `    ${program.name}: { section: '${program.section}' },`);
  return [
    `export const ${camel(name)} = defineObject({`,
    `  name: '${name}',`,
    '  maps: {',
    ...maps,
    '  },',
    '  programs: {',
    ...programs,
    '  },',
    ...(rodata.length === 0 ? [] : ['  rodata: {', ...rodata, '  },']),
    '});',
  ].join('\n');
}

/** 'policy_cidrs' -> 'PolicyCidrs' */
function pascal(name: string): string {
  return name.replace(/(?:^|[^A-Za-z0-9]+)([A-Za-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function camel(name: string): string {
  const text = pascal(name);
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Collects declarations in the order they depend on each other, each once. */
class Emitter {
  readonly blocks: string[] = [];
  /** By BTF id, of the object at hand. */
  #names = new Map<number, string>();
  #source = '';
  /** Types of the objects before, by their C name or where they stand. */
  readonly #declared = new Map<string, { name: string; source: string; text: string }>();
  readonly #taken = new Set<string>(['Codec']);
  readonly #constants = new Set<string>();

  /** Starts on another object, whose ids mean other types. */
  begin(source: string): void {
    this.#names = new Map();
    this.#source = source;
  }

  /** An expression that is the codec of a shape. @param path names anonymous types after where they stand */
  codec(shape: Shape, path: readonly string[]): string {
    switch (shape.kind) {
      case 'scalar':
        return `codec.${shape.codec}`;
      case 'bits':
        return this.#constant(
          `${shape.unit}Bits${shape.shift}To${shape.shift + shape.width}`,
          `codec.bits(codec.${shape.unit}, ${shape.shift}, ${shape.width})`,
        );
      case 'bytes':
        return this.#constant(`bytes${shape.size}`, `codec.bytes(${shape.size})`);
      case 'chars':
        return this.#constant(`chars${shape.size}`, `codec.chars(${shape.size})`);
      case 'array': {
        const item = this.codec(shape.item, path);
        const name = `${camel(item.replace(/^codec\.|Codec$/g, ''))}Array${shape.length}`;
        return this.#constant(name, `codec.array(${item}, ${shape.length})`);
      }
      case 'enum': {
        const name = this.#enum(shape, path);
        return shape.flags ? `codec.${shape.storage}` : `${name}Codec`;
      }
      case 'struct':
        return `${this.#struct(shape, path)}Codec`;
    }
  }

  #constant(name: string, expression: string): string {
    if (!this.#constants.has(name)) {
      this.#constants.add(name);
      const line = `const ${name} = ${expression};`;
      // Constants that follow one another stand together.
      const last = this.blocks.at(-1);
      if (last?.startsWith('const ')) this.blocks[this.blocks.length - 1] = `${last}\n${line}`;
      else this.blocks.push(line);
    }
    return name;
  }

  /** A free name for a type: `struct pod` and `enum pod` may both exist. */
  #claim(shape: EnumShape | StructShape, path: readonly string[]): string {
    const known = this.#declared.get(identity(shape, path));
    if (known !== undefined) {
      this.#names.set(shape.id, known.name);
      return known.name;
    }
    const wanted = pascal(shape.name ?? path.join('_'));
    let name = wanted;
    if (this.#taken.has(name)) name = `${wanted}${shape.kind === 'enum' ? 'Enum' : 'Struct'}`;
    for (let i = 2; this.#taken.has(name); i++) name = `${wanted}${i}`;
    this.#taken.add(name);
    this.#names.set(shape.id, name);
    return name;
  }

  /** Writes a type down, unless an earlier object brought the same. */
  #declare(shape: EnumShape | StructShape, path: readonly string[], name: string, text: string): void {
    const key = identity(shape, path);
    const known = this.#declared.get(key);
    if (known === undefined) {
      this.#declared.set(key, { name, source: this.#source, text });
      this.blocks.push(text);
    } else if (known.text !== text) {
      throw badValue(`${key} is not the same in ${known.source} and ${this.#source}`, 'generated types');
    }
  }

  #enum(shape: EnumShape, path: readonly string[]): string {
    const known = this.#names.get(shape.id);
    if (known !== undefined) return known;
    const name = this.#claim(shape, path);
    const wide = shape.size === 8;
    const members = shape.members.map(({ name: member, value }) => {
      const text = shape.flags && value > 9n ? `0x${value.toString(16)}` : String(value);
      return `  ${member}: ${text}${wide ? 'n' : ''},`;
    });
    const title = shape.name === undefined ? 'An anonymous enum' : `\`${shape.cName}\``;
    const lines = [
      `/** ${title}${shape.flags ? ': bits, to be combined with |' : ''}. */`,
      `export const ${name} = {`,
      ...members,
      '} as const;',
    ];
    if (shape.flags) {
      lines.push(`export type ${name} = ${wide ? 'bigint' : 'number'};`);
    } else {
      const maker = wide ? 'enumeration64' : 'enumeration';
      const storage = shape.storage === 'u32' || shape.storage === 'u64' ? '' : `, codec.${shape.storage}`;
      lines.push(
        `export type ${name} = keyof typeof ${name};`,
        `export const ${name}Codec: Codec<${name}> = codec.${maker}(${name}${storage});`,
      );
    }
    this.#declare(shape, path, name, lines.join('\n'));
    return name;
  }

  #type(shape: Shape, path: readonly string[]): string {
    switch (shape.kind) {
      case 'scalar':
        return scalarType(shape.codec);
      case 'bits':
        return 'number';
      case 'bytes':
        return 'Uint8Array';
      case 'chars':
        return 'string';
      case 'array':
        return `${this.#type(shape.item, path)}[]`;
      case 'enum':
        return this.#enum(shape, path);
      case 'struct':
        return this.#struct(shape, path);
    }
  }

  #struct(shape: StructShape, path: readonly string[]): string {
    const known = this.#names.get(shape.id);
    if (known !== undefined) return known;
    const name = this.#claim(shape, path);
    const at = (field: Field): string[] => [shape.name ?? path.join('_'), field.name];
    const codecs = new Map(shape.fields.map((field) => [field, this.codec(field.shape, at(field))]));
    const title = shape.name === undefined ? `An anonymous ${shape.cName}` : `\`${shape.cName}\``;
    const note = shape.fields.some(({ overlaps }) => overlaps)
      ? ' Optional members share their place: all are read, give the one to write.'
      : '';
    const members = shape.fields.map((field) => {
      const optional = field.pad || field.overlaps ? '?' : '';
      return `  ${field.name}${optional}: ${this.#type(field.shape, at(field))}; // ${field.cType}`;
    });
    const place = (base: string, offset: number): string => (offset === 0 ? base : `${base} + ${offset}`);
    const reads = shape.fields
      .filter(({ pad }) => !pad)
      .map((field) => `    ${field.name}: ${codecs.get(field)}.read(v, ${place('o', field.offset)}),`);
    const writes = shape.fields.map((field) => {
      const write = `${codecs.get(field)}.write(v, ${place('o', field.offset)}, x.${field.name});`;
      return field.pad || field.overlaps ? `    if (x.${field.name} !== undefined) ${write}` : `    ${write}`;
    });
    const zero = isDense(shape) ? [] : [`    codec.zero(v, o, ${shape.size});`];
    this.#declare(
      shape,
      path,
      name,
      [
        `/** ${title}, ${shape.size} bytes.${note} */`,
        `export interface ${name} {`,
        ...members,
        '}',
        '',
        `export const ${name}Codec: Codec<${name}> = {`,
        `  size: ${shape.size},`,
        '  read: (v, o) => ({',
        ...reads,
        '  }),',
        '  write(v, o, x) {',
        ...zero,
        ...writes,
        '  },',
        '};',
      ].join('\n'),
    );
    return name;
  }
}

/** What makes a type the same in two objects: its tag, or without one where it stands. */
function identity(shape: EnumShape | StructShape, path: readonly string[]): string {
  return shape.name === undefined ? `the anonymous type of ${path.join('.')}` : shape.cName;
}

/** Whether every byte is written by some field: then nothing has to be cleared first. */
function isDense(shape: StructShape): boolean {
  let end = 0;
  for (const field of shape.fields) {
    if (field.offset !== end || field.overlaps || field.pad || field.shape.kind === 'bits') return false;
    end += field.shape.size;
  }
  return end === shape.size;
}

function scalarType(scalar: string): string {
  if (scalar === 'bool') return 'boolean';
  return /64$/.test(scalar) && scalar !== 'f64' ? 'bigint' : 'number';
}
