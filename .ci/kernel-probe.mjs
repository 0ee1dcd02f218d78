#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import koffi from 'koffi';

// Run as a program of its own: a broken libbpf must not take the test run with it. Prints nothing where eBPF works,
// and otherwise the reason.
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR = 18;

function reason() {
  if (process.getuid() !== 0) return 'not root';
  const mounts = readFileSync('/proc/mounts', 'utf8');
  if (!/ cgroup2 /.test(mounts)) return 'no cgroup2 file system is mounted';
  let probe;
  try {
    probe = koffi.load('libbpf.so.1').func('int libbpf_probe_bpf_prog_type(int type, void *opts)');
  } catch (error) {
    return `libbpf.so.1 cannot be used: ${error.message}`;
  }
  const answer = probe(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, null);
  if (answer === 1) return '';
  return answer === 0
    ? 'cgroup/sock_addr programs do not load: an old kernel, or capabilities are missing'
    : `the kernel answers bpf(2) with error ${-answer}`;
}

process.stdout.write(reason());
