// Written by `libbpf-ts gen` from connections.bpf.o. Do not edit: change the C types and run it again.

import { type Codec, codec, defineObject } from 'libbpf-ts';

const chars16 = codec.chars(16);

/** `struct connection`, 28 bytes. */
export interface Connection {
  address: number; // __be32
  port: number; // __be16
  pad?: number; // __u16
  pid: number; // __u32
  comm: string; // char[16]
}

export const ConnectionCodec: Codec<Connection> = {
  size: 28,
  read: (v, o) => ({
    address: codec.be32.read(v, o),
    port: codec.be16.read(v, o + 4),
    pid: codec.u32.read(v, o + 8),
    comm: chars16.read(v, o + 12),
  }),
  write(v, o, x) {
    codec.zero(v, o, 28);
    codec.be32.write(v, o, x.address);
    codec.be16.write(v, o + 4, x.port);
    if (x.pad !== undefined) codec.u16.write(v, o + 6, x.pad);
    codec.u32.write(v, o + 8, x.pid);
    chars16.write(v, o + 12, x.comm);
  },
};

export const connections = defineObject({
  name: 'connections',
  maps: {
    connections: {
      type: 'ringbuf',
    },
    counts: {
      type: 'percpu_hash',
      key: codec.u16,
      value: codec.u64,
    },
  },
  programs: {
    on_connect: { section: 'cgroup/connect4' },
  },
  rodata: {
    refused_port: codec.u16,
  },
});
