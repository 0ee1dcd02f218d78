import { check } from './errors.ts';
import { libbpf } from './ffi.ts';
import type { Named } from './info.ts';
import { ATTACH_TYPES, type AttachType, nameOf, PROGRAM_TYPES, type ProgramType } from './uapi.ts';

/** By the program's section. Number 0 is the type of cgroup_skb/ingress, and what all without a type have. */
export function attachTypeOf(program: bigint): Named<AttachType> | undefined {
  const value = libbpf.bpf_program__expected_attach_type(program);
  const type = nameOf(PROGRAM_TYPES, libbpf.bpf_program__type(program));
  return value === 0 && type !== 'cgroup_skb' ? undefined : nameOf(ATTACH_TYPES, value);
}

/** A program of an object that is not loaded yet. */
export class OpenProgram {
  readonly name: string;
  readonly section: string;
  readonly type: Named<ProgramType>;
  /** What {@link Link} attaches it as; undefined for types that have no attach type. */
  readonly attachType: Named<AttachType> | undefined;
  readonly #pointer: bigint;
  readonly #usable: () => void;

  constructor(pointer: bigint, usable: () => void) {
    this.#pointer = pointer;
    this.#usable = usable;
    this.name = libbpf.bpf_program__name(pointer) ?? '';
    this.section = libbpf.bpf_program__section_name(pointer) ?? '';
    this.type = nameOf(PROGRAM_TYPES, libbpf.bpf_program__type(pointer));
    this.attachType = attachTypeOf(pointer);
  }

  /** Whether load() loads it. */
  get autoload(): boolean {
    this.#usable();
    return libbpf.bpf_program__autoload(this.#pointer);
  }

  set autoload(load: boolean) {
    this.#usable();
    check(libbpf.bpf_program__set_autoload(this.#pointer, load), 'set autoload of', `program ${this.name}`);
  }
}
