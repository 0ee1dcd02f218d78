import assert from 'node:assert/strict';
import { it } from 'node:test';
import { oldKernel } from './backend.ts';

it('takes kernels from 5.7, whatever follows the number', () => {
  for (const release of ['5.7.0', '5.7', '5.10.0-21-amd64', '6.18.3', '10.0.1', 'unknown']) {
    assert.equal(oldKernel(release), null, release);
  }
});

it('names the release of a kernel that is too old', () => {
  for (const release of ['5.6.19', '4.19.0-27-amd64', '2.6.78', '3.10.0-1160.el7.x86_64']) {
    assert.equal(oldKernel(release), `the kernel is ${release}, and eBPF needs 5.7`);
  }
});
