import { BpfError, errnoError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { type Named, type ProgramInfo, programInfo } from './info.ts';
import { infoOrClose, KernelObject, openPin } from './kernel_object.ts';
import { ATTACH_TYPES, type AttachType, numberOf, type ProgramType } from './uapi.ts';

/** A loaded program. */
export class Program extends KernelObject {
  readonly name: string;
  readonly id: number;
  /** The kernel's hash of the instructions, 16 hex digits. */
  readonly tag: string;
  readonly type: Named<ProgramType>;
  /** By the section it came from; undefined for a program opened from a pin or by id: the kernel does not tell. */
  readonly attachType: Named<AttachType> | undefined;

  /** @param fd owned by the program from here on */
  constructor(
    fd: number,
    options: { name?: string; attachType?: Named<AttachType> | undefined; pinPath?: string } = {},
  ) {
    const info = infoOrClose(fd, programInfo);
    const name = options.name ?? info.name;
    super(fd, `program ${name}`, options.pinPath);
    this.name = name;
    this.id = info.id;
    this.tag = info.tag;
    this.type = info.type;
    this.attachType = options.attachType;
  }

  info(): ProgramInfo {
    return programInfo(this.fd);
  }

  /** @param attachType needed to attach it again, since a pin does not tell */
  static fromPin(path: string, attachType?: AttachType): Program {
    return new Program(openPin(path, 'program'), { pinPath: path, attachType });
  }

  static fromId(id: number, attachType?: AttachType): Program {
    const fd = libbpf.bpf_prog_get_fd_by_id(id);
    if (fd < 0) throw idError(fd, `program ${id}`);
    return new Program(fd, { attachType });
  }
}

/** The error for a failed `*_get_fd_by_id`. */
export function idError(result: number, target: string): BpfError {
  return errnoError(result, 'open by id', target);
}

/** The number of the hook a program is for. @throws BpfError BAD_VALUE when it is unknown */
export function attachNumber(program: Program, given?: AttachType): number {
  const name = given ?? program.attachType;
  const known = ATTACH_TYPES.find((type) => type === name);
  if (known === undefined) {
    throw new BpfError({
      code: 'BAD_VALUE',
      op: 'attach',
      target: program.target,
      detail: `its attach type is ${name ?? 'not known'}`,
      hint: 'pass attachType: only programs loaded from an object file know theirs',
    });
  }
  return numberOf(ATTACH_TYPES, known);
}
