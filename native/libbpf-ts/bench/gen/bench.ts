// Written by `libbpf-ts gen` from bench.bpf.o. Do not edit: change the C types and run it again.

import { type Codec, codec, defineObject } from 'libbpf-ts';

/** `struct value`, 16 bytes. */
export interface Value {
  packets: bigint; // __u64
  backend: number; // __u32
  address: number; // __be32
}

export const ValueCodec: Codec<Value> = {
  size: 16,
  read: (v, o) => ({
    packets: codec.u64.read(v, o),
    backend: codec.u32.read(v, o + 8),
    address: codec.be32.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.packets);
    codec.u32.write(v, o + 8, x.backend);
    codec.be32.write(v, o + 12, x.address);
  },
};

/** `struct sample`, 16 bytes. */
export interface Sample {
  time_ns: bigint; // __u64
  number: number; // __u32
  kind: number; // __u32
}

export const SampleCodec: Codec<Sample> = {
  size: 16,
  read: (v, o) => ({
    time_ns: codec.u64.read(v, o),
    number: codec.u32.read(v, o + 8),
    kind: codec.u32.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.u64.write(v, o, x.time_ns);
    codec.u32.write(v, o + 8, x.number);
    codec.u32.write(v, o + 12, x.kind);
  },
};

export const bench = defineObject({
  name: 'bench',
  maps: {
    flows: {
      type: 'hash',
      key: codec.u64,
      value: ValueCodec,
    },
    samples: {
      type: 'ringbuf',
    },
  },
  programs: {
    emit: { section: 'tc' },
  },
});
