import { readFileSync } from 'node:fs';
import { Btf } from './btf.ts';
import { BpfError } from './errors.ts';
import { addressOf, copyOf, cString, lastErrno, libbpf } from './ffi.ts';
import { openError } from './load_error.ts';
import { capture } from './print_capture.ts';
import { LITTLE_ENDIAN } from './uapi.ts';

export interface OpenOptions {
  /** Where maps that ask to be pinned by name (`__uint(pinning, LIBBPF_PIN_BY_NAME)`) go. Default /sys/fs/bpf. */
  pinRoot?: string;
  /** A BTF file to relocate against, in place of /sys/kernel/btf/vmlinux. */
  kernelBtf?: string;
}

/** @throws BpfError with the errno of the read */
export function readObject(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new BpfError({
      code: cause instanceof Error && 'code' in cause ? String(cause.code) : 'EIO',
      op: 'open object',
      target: path,
      hint: 'compile it with `clang -O2 -g -target bpf -c`',
      cause,
    });
  }
}

/** Offsets in `struct bpf_object_open_opts` (libbpf 1.1; later releases only append). */
const OPEN_OPTS = { bytes: 72, objectName: 8, pinRoot: 24, kernelBtf: 48 } as const;

/** Has libbpf parse an object file. @returns its handle, to be closed with bpf_object__close */
export function openMemory(bytes: Uint8Array, name: string, { pinRoot, kernelBtf }: OpenOptions): bigint {
  const opts = new DataView(new ArrayBuffer(OPEN_OPTS.bytes));
  opts.setBigUint64(0, BigInt(OPEN_OPTS.bytes), LITTLE_ENDIAN);
  const texts = [
    [OPEN_OPTS.objectName, name],
    [OPEN_OPTS.pinRoot, pinRoot],
    [OPEN_OPTS.kernelBtf, kernelBtf],
  ] as const;
  const kept = texts.map(([offset, text]) => {
    if (text === undefined) return undefined;
    const bytes = cString(text);
    opts.setBigUint64(offset, addressOf(bytes), LITTLE_ENDIAN);
    return bytes;
  });
  const { result, said } = capture(() => {
    const pointer = libbpf.bpf_object__open_mem(bytes, bytes.length, opts);
    return { pointer, errno: pointer === null ? lastErrno() : 0, kept };
  });
  if (result.pointer === null) throw openError(result.errno, name, said);
  return result.pointer;
}

/** The object's BTF as libbpf completed it: variables have their offsets. */
export function objectBtf(pointer: bigint): Btf {
  const btf = libbpf.bpf_object__btf(pointer);
  const size = new Uint32Array(1);
  const data = btf === null ? null : libbpf.btf__raw_data(btf, size);
  if (data === null) {
    throw new BpfError({
      code: 'BAD_VALUE',
      op: 'open object',
      detail: 'it has no BTF',
      hint: 'compile it with -g',
    });
  }
  return Btf.parse(copyOf(data, size[0] ?? 0));
}

/** Maps or programs of an object, in libbpf's order. */
export function walk(
  next: (object: bigint, previous: bigint | null) => bigint | null,
  nameOf: (item: bigint) => string | null,
  object: bigint,
): { name: string; pointer: bigint }[] {
  const found: { name: string; pointer: bigint }[] = [];
  for (let item = next(object, null); item !== null; item = next(object, item)) {
    found.push({ name: nameOf(item) ?? '', pointer: item });
  }
  return found;
}
