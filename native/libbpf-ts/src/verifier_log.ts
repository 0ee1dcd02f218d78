import { VerifierLog } from './errors.ts';
import { libbpf, libc, viewOf } from './ffi.ts';

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022;

/**
 * Buffer sizes to try, for one program. Kernels before 6.4 fail the load with ENOSPC when the log does not fit, and
 * 16 MiB is the most that any takes. Pages cost memory only once the verifier writes to them, that is on failure.
 */
const SIZES = [(16 << 20) - 4096, 1 << 20, 64 << 10] as const;

/** One log buffer for each program, so that logs of several loads at once never mix. */
export class LogBuffers implements Disposable {
  readonly #names: readonly string[];
  readonly #bytes: number;
  #address: bigint | undefined;

  /** @param programs libbpf's program pointers, in any order */
  constructor(programs: readonly { name: string; pointer: bigint }[]) {
    this.#names = programs.map(({ name }) => name);
    this.#bytes = 0;
    for (const bytes of SIZES) {
      const length = bytes * programs.length;
      if (length === 0) return;
      const address = libc.mmap(null, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0);
      if (address === null || BigInt.asIntN(64, address) === -1n) continue; // an address space limit: try less
      this.#address = address;
      this.#bytes = bytes;
      programs.forEach(({ pointer }, i) => {
        libbpf.bpf_program__set_log_buf(pointer, address + BigInt(i * bytes), bytes);
      });
      return;
    }
  }

  /** The first program that the verifier said something of: libbpf asks for a log only after a failure. */
  failed(): { program: string; log: VerifierLog } | undefined {
    if (this.#address === undefined) return undefined;
    for (const [i, program] of this.#names.entries()) {
      const bytes = new Uint8Array(viewOf(this.#address + BigInt(i * this.#bytes), this.#bytes));
      if (bytes[0] === 0) continue;
      const end = bytes.indexOf(0);
      const text = Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString('utf8');
      return { program, log: new VerifierLog(text) };
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    if (this.#address === undefined) return;
    libc.munmap(this.#address, this.#bytes * this.#names.length);
    this.#address = undefined;
  }
}
