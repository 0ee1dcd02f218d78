import { BpfError } from '../errors.ts';
import { LITTLE_ENDIAN } from '../uapi.ts';

/** The little of ELF that a generator needs, so that it runs where libbpf does not. */
export interface ElfObject {
  /** A section's bytes, by name. */
  section(name: string): Uint8Array | undefined;
  /** Functions that libbpf will load as programs: global, and not in .text. */
  programs: { name: string; section: string }[];
}

interface Section {
  name: string;
  type: number;
  flags: number;
  offset: number;
  size: number;
  link: number;
}

const SHT_SYMTAB = 2;
const SHF_EXECINSTR = 4;
const STT_FUNC = 2;
const STB_LOCAL = 0;
const SYMBOL_BYTES = 24;
const EM_BPF = 247;

function badElf(detail: string): BpfError {
  return new BpfError({
    code: 'BAD_VALUE',
    op: 'read object',
    detail,
    hint: 'compile it with `clang -O2 -g -target bpf -c`',
  });
}

/** @throws BpfError BAD_VALUE when it is not a BPF object of this machine's byte order */
export function parseElf(bytes: Uint8Array): ElfObject {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 64 || view.getUint32(0) !== 0x7f45_4c46) throw badElf('not an ELF file');
  if (bytes[4] !== 2 || (bytes[5] === 1) !== LITTLE_ENDIAN)
    throw badElf('not a 64-bit file of this byte order');
  if (view.getUint16(18, LITTLE_ENDIAN) !== EM_BPF) throw badElf('not compiled for BPF');
  try {
    const sections = sectionsOf(view, bytes);
    return {
      section(name) {
        const found = sections.find((section) => section.name === name);
        return found && bytes.subarray(found.offset, found.offset + found.size);
      },
      programs: programsOf(view, bytes, sections),
    };
  } catch (error) {
    if (error instanceof RangeError) throw badElf('the file is cut short');
    throw error;
  }
}

function text(bytes: Uint8Array, start: number): string {
  const end = bytes.indexOf(0, start);
  return Buffer.from(bytes.subarray(start, end < 0 ? undefined : end)).toString('utf8');
}

function sectionsOf(view: DataView, bytes: Uint8Array): Section[] {
  const u64 = (at: number): number => Number(view.getBigUint64(at, LITTLE_ENDIAN));
  const u32 = (at: number): number => view.getUint32(at, LITTLE_ENDIAN);
  const table = u64(40);
  const stride = view.getUint16(58, LITTLE_ENDIAN);
  const count = view.getUint16(60, LITTLE_ENDIAN);
  const names = u64(table + view.getUint16(62, LITTLE_ENDIAN) * stride + 24);
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * stride;
    return {
      name: text(bytes, names + u32(at)),
      type: u32(at + 4),
      flags: u64(at + 8),
      offset: u64(at + 24),
      size: u64(at + 32),
      link: u32(at + 40),
    };
  });
}

function programsOf(view: DataView, bytes: Uint8Array, sections: readonly Section[]): ElfObject['programs'] {
  const symbols = sections.find((section) => section.type === SHT_SYMTAB);
  const strings = symbols && sections[symbols.link];
  if (symbols === undefined || strings === undefined) return [];
  const programs: ElfObject['programs'] = [];
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += SYMBOL_BYTES) {
    const info = view.getUint8(at + 4);
    const section = sections[view.getUint16(at + 6, LITTLE_ENDIAN)];
    if ((info & 0xf) !== STT_FUNC || info >> 4 === STB_LOCAL || section === undefined) continue;
    if ((section.flags & SHF_EXECINSTR) === 0 || section.name === '.text') continue;
    programs.push({
      name: text(bytes, strings.offset + view.getUint32(at, LITTLE_ENDIAN)),
      section: section.name,
    });
  }
  return programs;
}
